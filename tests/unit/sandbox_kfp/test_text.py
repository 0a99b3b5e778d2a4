from meta.sandbox.kfp.inside.kfp_run.text import last_words, plain, without_pip_install


def test_the_exception_that_ended_a_component_is_its_message_whole() -> None:
    lines = [
        "epoch 1\n",
        "Traceback (most recent call last):\n",
        '  File "a.py", line 1, in <module>\n',
        "ValueError: lower the learning_rate:\n",
        "it diverged\n",
        "\n",
    ]
    assert last_words(lines) == "ValueError: lower the learning_rate:\nit diverged"


def test_without_an_exception_the_last_line_is_the_message() -> None:
    assert last_words(["loading\n", "  Killed  \n", "\n"]) == "Killed"
    assert last_words([]) == "no output"


def test_the_install_step_in_front_of_a_component_is_dropped_and_nothing_else() -> None:
    install = ["sh", "-c", 'python3 -m pip install six && "$0" "$@"\n']
    program = ["sh", "-ec", "program", "code that says pip install"]
    assert without_pip_install(install + program) == program
    assert without_pip_install(program) == program


def test_colours_are_no_part_of_a_message() -> None:
    assert plain("Pipeline \x1b[95m'p'\x1b[0m failed") == "Pipeline 'p' failed"
