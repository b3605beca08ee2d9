"""What may be listened at, and what is refused because it is not safe."""

import pytest

from otelprof.environment import from_environment
from otelprof.errors import ConfigError
from otelprof.pull_settings import PullPlace, PullSettings, checked_token, place_of

TOKEN = "0123456789abcdef"  # noqa: S105 - as long as it has to be

PLACES = {
    "127.0.0.1:6060": PullPlace("127.0.0.1", (6060,)),
    "6060": PullPlace("127.0.0.1", (6060,)),
    "localhost:0": PullPlace("127.0.0.1", (0,)),
    "127.8.9.10:1": PullPlace("127.8.9.10", (1,)),
    "127.0.0.1:6060-6062": PullPlace("127.0.0.1", (6060, 6061, 6062)),
    "[::1]:65535": PullPlace("::1", (65535,)),
    "0.0.0.0:6060": PullPlace("0.0.0.0", (6060,), is_loopback=False),  # noqa: S104 - not opened
    "[::]:6060": PullPlace("::", (6060,), is_loopback=False),
    "10.1.2.3:6060": PullPlace("10.1.2.3", (6060,), is_loopback=False),
    "unix:/run/shop.sock": PullPlace(path="/run/shop.sock"),
    "unix:/run/{pid}.sock": PullPlace(path="/run/{pid}.sock"),
}

# is it opened: by the address, then without and with a token, both without and with the switch
LOOPBACK, NETWORK, SOCKET = "127.0.0.1:0", "0.0.0.0:0", "unix:/run/s"
MATRIX = [
    *((LOOPBACK, "", False, False), (LOOPBACK, "", True, True)),
    *((LOOPBACK, TOKEN, False, True), (LOOPBACK, TOKEN, True, True)),
    *((NETWORK, "", False, False), (NETWORK, "", True, False)),
    *((NETWORK, TOKEN, False, False), (NETWORK, TOKEN, True, True)),
    *((SOCKET, "", False, True), (SOCKET, TOKEN, False, True)),
]


@pytest.mark.parametrize(("text", "place"), PLACES.items())
def test_an_address_says_where(text: str, place: PullPlace) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize(("address", "token", "insecure", "is_opened"), MATRIX)
def test_what_is_not_safe_is_refused(
    address: str, token: str, insecure: bool, is_opened: bool, caplog: pytest.LogCaptureFixture
) -> None:
    variables = {"OTELPROF_PULL": address, "OTELPROF_PULL_TOKEN": token}
    variables["OTELPROF_PULL_INSECURE"] = str(insecure)
    assert from_environment(variables).pull.address == (address if is_opened else "")
    if is_opened:
        assert PullSettings(address, token, insecure).address == address
        assert caplog.messages == []
        return
    with pytest.raises(ConfigError, match=f"'{address}': .*OTELPROF_PULL_"):
        PullSettings(address, token, insecure)
    (message,) = caplog.messages
    assert message.startswith(f"OTELPROF_PULL='{address}' is not used: ")
    assert TOKEN not in message


def test_a_token_is_in_no_text() -> None:
    assert TOKEN not in repr(PullSettings(LOOPBACK, TOKEN))
    with pytest.raises(ValueError, match="16 or more") as caught:
        checked_token("secret")
    assert "secret" not in str(caught.value)
