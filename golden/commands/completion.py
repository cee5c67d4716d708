"""``golden completion``."""

import click
from click.shell_completion import get_completion_class

from golden.commands.options import OneOf
from golden.commands.terminal import examples

#: What click looks for in the environment when a shell asks for completions.
_COMPLETE = "_GOLDEN_COMPLETE"


@click.command(
    short_help="Print the script that completes golden in a shell.",
    epilog=examples(
        'eval "$(golden completion bash)"    # in ~/.bashrc',
        'eval "$(golden completion zsh)"     # in ~/.zshrc',
        "golden completion fish | source     # in ~/.config/fish/config.fish",
    ),
)
@click.argument("shell", metavar="SHELL", type=OneOf(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options, suites, platforms, operators and cases."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.get_current_context().find_root().command, {}, "golden", _COMPLETE).source())
