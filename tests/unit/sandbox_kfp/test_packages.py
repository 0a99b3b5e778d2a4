import pytest

from meta.sandbox.kfp.packages import Packages, UnknownOption, packages_of

SCRIPT = """
if ! [ -x "$(command -v pip)" ]; then
    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip
fi

PIP_DISABLE_PIP_VERSION_CHECK=1 {install} && "$0" "$@"
"""
KFP = (
    "python3 -m pip install --quiet --no-warn-script-location 'kfp==2.15.2' '--no-deps' "
    "'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'"
)


def command(install: str) -> list[str]:
    return ["sh", "-c", SCRIPT.format(install=install), "sh", "-ec", "program", "pip install evil # the user's code"]


def test_a_component_without_packages_needs_kfp_alone_which_every_run_has() -> None:
    assert packages_of(command(KFP)) == Packages()


def test_packages_are_a_set_so_that_their_order_makes_no_other_environment() -> None:
    one = packages_of(command(f"python3 -m pip install --quiet 'six==1.17.0' 'attrs>=24'  &&  {KFP}"))
    other = packages_of(command(f"python3 -m pip install --quiet 'attrs>=24' 'six==1.17.0'  &&  {KFP}"))
    assert one == other == Packages(("attrs>=24", "six==1.17.0"))
    assert one.text() == "attrs>=24\nsix==1.17.0\n"


def test_a_package_whose_name_only_begins_like_kfp_stays() -> None:
    assert packages_of(command(f"python3 -m pip install 'kfp-kubernetes==2.17.0' && {KFP}")).requirements == (
        "kfp-kubernetes==2.17.0",
    )


def test_an_index_of_the_component_is_asked() -> None:
    index = "--index-url https://example.org/simple --trusted-host https://example.org/simple"
    found = packages_of(command(f"python3 -m pip install --quiet {index} 'six==1.17.0' && {KFP}"))
    assert found.text() == "--index-url https://example.org/simple\nsix==1.17.0\n"


def test_an_option_that_nobody_knows_is_an_error_that_names_it() -> None:
    with pytest.raises(UnknownOption, match="--target"):
        packages_of(command(f"python3 -m pip install --target=/somewhere six && {KFP}"))
