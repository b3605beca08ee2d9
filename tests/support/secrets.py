"""Secrets of every shape that `redact` knows, made up anew by a seed: none that was ever valid is in the repository."""

import base64
import random
import string
from collections.abc import Iterator
from typing import NamedTuple

_LETTERS = string.ascii_letters + string.digits
_HOSTS = ("db.internal", "10.0.0.7:5432", "queue")


class Planted(NamedTuple):
    """A text with a secret in it: `canary` may not be in what leaves, `kept` has to be."""

    shape: str
    text: str
    canary: str
    kept: str = ""


def planted(count: int, *, seed: int) -> list[Planted]:
    """So many of each shape."""
    chance = random.Random(seed)
    return [secret for _ in range(count) for secret in _one_of_each(chance)]


def _one_of_each(chance: random.Random) -> Iterator[Planted]:
    def letters(count: int, alphabet: str = _LETTERS) -> str:
        return "".join(chance.choices(alphabet, k=count))

    def encoded(count: int) -> str:
        return base64.urlsafe_b64encode(chance.randbytes(count)).decode().rstrip("=")

    host, word = chance.choice(_HOSTS), letters(14)
    odd = letters(6) + chance.choice("/@:!$%+") + letters(6)
    yield Planted("url", f"postgres://bob:{odd}@{host}/shop?ssl=1", odd, host)
    yield Planted("url-user", f"GET https://{word}@{host}/x", word, f"@{host}/x")
    yield Planted("query", f"/cb?id=7&access_token={word}&x=1", word, "&x=1")
    yield Planted("assignment", f"--password={word} --verbose", word, "--verbose")
    yield Planted("environment", f"SECRET_KEY_BASE={word}", word, "SECRET_KEY_BASE=")
    yield Planted("quoted", f"passwd: '{letters(4)} {word}' end", word, " end")
    yield Planted("json", f'{{"api_key": "{word}", "a": 1}}', word, '"a": 1}')
    yield Planted("header", f"Authorization: Bearer {letters(24)}.{word}", word, "Authorization")
    yield Planted("cookie", f"cookie: sid={word}; theme=dark", word, "theme=dark")
    yield Planted("basic", f"sent Basic {encoded(18)}{word}== to {host}", word, host)
    header = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
    claims = base64.urlsafe_b64encode(f'{{"sub":"{letters(60)}"}}'.encode()).decode().rstrip("=")
    yield Planted("jwt", f"job {header}.{claims}.{word} done", word, " done")
    yield Planted("jwt-cut", f"job {header}.{claims}{encoded(900)}", claims[20:40], "job ")
    upper = letters(16, string.ascii_uppercase + string.digits)
    yield Planted("aws", f"key {chance.choice(('AKIA', 'ASIA'))}{upper}.", upper, "key ")
    yield Planted("google", f"k AIza{letters(35)}", "AIza", "k ")
    yield Planted("github", f"gh{chance.choice('pousr')}_{letters(36)}", "gh")
    yield Planted("github-pat", f"github_pat_{letters(22)}_{letters(59)}", "github_pat")
    yield Planted("gitlab", f"glpat-{letters(20)}", "glpat")
    yield Planted("slack", f"xoxb-{letters(11, string.digits)}-{letters(24)}", "xoxb")
    yield Planted("stripe", f"sk_live_{letters(24)}", "sk_live")
    yield Planted("openai", f"sk-proj-{letters(48)}", "sk-proj")
    yield Planted("npm", f"npm_{letters(36)}", "npm_")
    yield Planted("pypi", f"pypi-{letters(80)}", "pypi-")
    kind = chance.choice(("", "RSA ", "EC ", "OPENSSH "))
    pem = f"-----BEGIN {kind}PRIVATE KEY-----\n{word}\n-----END {kind}PRIVATE KEY-----"
    yield Planted("pem", f"key {pem}", word, "key ")
    user = letters(8, string.ascii_lowercase)
    yield Planted("home", f"File /home/{user}/shop/app.py", user, "~/shop/app.py")
    yield Planted("home-url", f"file:///Users/{user}/app.py", user, "~/app.py")
    yield Planted("home-windows", rf"in C:\Users\{user}\app.py", user, r"~\app.py")
