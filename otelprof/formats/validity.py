"""What every reader does last: nothing leaves it that breaks a rule of the model."""

from otelprof.errors import FormatError
from otelprof.model import Profile


def checked(name: str, profiles: list[Profile]) -> list[Profile]:
    """`profiles`, all of them valid.

    Raises:
        FormatError: one is not; the message names the format and the rule.
    """
    for profile in profiles:
        problem = profile.problem()
        if problem is not None:
            raise FormatError(f"{name}: {problem}")
    return profiles
