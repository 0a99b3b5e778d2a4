"""The embedded stack: all the servers that a chain needs, supervised on one machine.

`EmbeddedStack` starts them inside a program or a test; `meta up` is the same for people.
"""

from meta.stack.addresses import Addresses
from meta.stack.embedded import EmbeddedStack
from meta.stack.events import StackEvent
from meta.stack.names import PartName, PortName
from meta.stack.options import StackOptions

__all__ = ["Addresses", "EmbeddedStack", "PartName", "PortName", "StackEvent", "StackOptions"]
