from __future__ import annotations

import json
import os
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.errors import SettingsError
from regrant.secret import MASK, Secret
from regrant.settings import (
    BY_KEY,
    SETTINGS,
    check,
    describe,
    load,
    make,
    parse_value,
    restart_needed,
    value_at,
)
from regrant.settings.values import plain

NOWHERE = Path("/nonexistent")
texts = st.text(st.characters(blacklist_categories=["Cs"]))


def write(folder: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    (folder / "config.toml").write_bytes(data)
    (folder / "config.toml").chmod(0o600)
    return folder


def problems_of(
    folder: Path, flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None
) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(folder, flags or {}, environ or {})
    return caught.value.problems


def leaf_keys(shape: Any, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name in shape.__struct_fields__:
        value = getattr(shape, name)
        key = prefix + name
        keys += leaf_keys(value, key + ".") if isinstance(value, msgspec.Struct) else [key]
    return keys


def test_every_field_of_the_model_is_a_row_of_the_table() -> None:
    assert sorted(leaf_keys(make())) == sorted(BY_KEY)


def test_every_row_has_one_sentence_of_help_and_a_default_that_it_accepts() -> None:
    assert len(BY_KEY) == len(SETTINGS)
    for row in SETTINGS:
        assert row.help.endswith("."), row.key
        assert ". " not in row.help, row.key
        row.kind.accept(row.default)


def test_the_contracts_defaults_hold_without_file_and_environment() -> None:
    settings = load(NOWHERE, {}, {}).settings
    assert (settings.server.host, settings.server.port, settings.server.workers) == ("127.0.0.1", 8045, 1)
    assert settings.server.auth_mode == "auto"
    assert settings.server.max_body_mb == 100
    assert settings.google.scopes == (
        "openid",
        "email",
        "https://www.googleapis.com/auth/cloud-platform",
        "https://www.googleapis.com/auth/generative-language.retriever",
    )
    assert settings.google.endpoints.token == "https://oauth2.googleapis.com/token"
    assert settings.google.endpoints.vertex == ""
    assert (settings.pool.strategy, settings.pool.max_attempts, settings.pool.deadline_s) == (
        "sticky",
        4,
        120,
    )
    assert (settings.quota.protection, settings.quota.reserve) == (False, 0.10)
    assert settings.models.presets is True
    assert (settings.traffic.keep_days, settings.traffic.max_mb, settings.traffic.record_bodies) == (
        30,
        512,
        False,
    )
    assert (settings.log.level, settings.log.format, settings.log.file) == ("info", "auto", True)
    assert settings.store.url.reveal() == "file:"


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    write(tmp_path, '[server]\nport = 1\nhost = "localhost"\nworkers = 2\n')
    environ = {"REGRANT_SERVER__PORT": "2", "REGRANT_SERVER__HOST": "::1"}
    loaded = load(tmp_path, {"server.port": 3, "server.host": None}, environ)
    server = loaded.settings.server
    assert (server.port, server.host, server.workers, server.max_body_mb) == (3, "::1", 2, 100)
    assert loaded.origins["server.port"] == "flag"
    assert loaded.origins["server.host"] == "environment REGRANT_SERVER__HOST"
    assert loaded.origins["server.workers"] == "config.toml"
    assert loaded.origins["server.max_body_mb"] == "default"


def test_every_problem_of_every_source_is_reported_at_once_with_its_key_and_origin(tmp_path: Path) -> None:
    write(tmp_path, '[server]\nport = 99999\nauth_mode = "maybe"\n[quota]\ntimezone = "Mars/Base"\n')
    problems = problems_of(
        tmp_path, {"server.workers": 0}, {"REGRANT_TRAFFIC__KEEP_DAYS": "x", "REGRANT_LOGG__LEVEL": "info"}
    )
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "REGRANT_LOGG__LEVEL (environment)",
        "quota.timezone (config.toml)",
        "server.auth_mode (config.toml)",
        "server.port (config.toml)",
        "server.workers (flag)",
        "traffic.keep_days (environment REGRANT_TRAFFIC__KEEP_DAYS)",
    ]
    assert "server.port (config.toml): found 99999, allowed is a whole number from 0 to 65535" in problems


def test_an_unknown_variable_with_a_double_underscore_names_the_nearest_key() -> None:
    (problem,) = problems_of(NOWHERE, environ={"REGRANT_SERVER__PROT": "1"})
    assert "REGRANT_SERVER__PORT (server.port)" in problem


def test_variables_without_a_double_underscore_and_other_names_are_left_alone() -> None:
    environ = {"REGRANT_DATA_DIR": "/x", "REGRANT_PORT": "1", "OTHER__NAME": "1", "regrant_server__port": "x"}
    assert load(NOWHERE, {}, environ).settings == make()


def test_an_unknown_key_in_the_file_is_a_warning_that_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, '[sever]\nport = 1\n["server.host"]\n[server]\nprot = 2\n"a.b" = 1\n')
    loaded = load(tmp_path, {}, {})
    assert loaded.settings == make()
    assert loaded.unknown == loaded.warnings
    assert "server.prot (config.toml): no such setting; the nearest is server.port" in loaded.unknown
    assert "sever.port (config.toml): no such setting; the nearest is server.port" in loaded.unknown
    assert len(loaded.unknown) == 4


def test_a_check_tells_of_unknown_keys_beside_all_other_problems(tmp_path: Path) -> None:
    assert check(tmp_path, {}, {}) == ()
    unknown = "server.prot (config.toml): no such setting; the nearest is server.port"
    assert check(write(tmp_path, "[server]\nprot = 2\n"), {}, {}) == (unknown,)
    found = check(write(tmp_path, "[server]\nprot = 2\nworkers = 0\n"), {}, {"REGRANT_LOG__LEVEL": "loud"})
    assert [problem.split(" ")[0] for problem in found] == ["server.workers", "log.level", "server.prot"]
    (broken,) = check(write(tmp_path, "[server\n"), {}, {})
    assert "line 1" in broken


def test_a_quoted_key_with_a_dot_is_not_taken_for_a_setting(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, '"server.port" = 1\n'), {}, {})
    assert loaded.settings.server.port == 8045
    assert len(loaded.unknown) == 1


def test_an_unknown_field_of_an_oauth_client_is_a_warning(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, '[[google.clients]]\nclient_id = "c"\nclient_secrt = "hidden-1"\n'), {}, {})
    assert loaded.unknown == (
        "google.clients[0].client_secrt (config.toml): no such field; the nearest is client_secret",
    )
    assert "hidden-1" not in "".join(loaded.warnings)


def test_a_byte_order_mark_and_crlf_are_accepted(tmp_path: Path) -> None:
    write(tmp_path, b"\xef\xbb\xbf[server]\r\nport = 7\r\n")
    assert load(tmp_path, {}, {}).settings.server.port == 7


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[server]\nport = \n", ("config.toml", "line 2")),
        (b"[server]\n# \xff\n", ("config.toml", "line 2", "UTF-8")),
    ],
)
def test_a_file_that_cannot_be_read_names_the_file_and_the_line(
    tmp_path: Path, content: bytes, words: tuple[str, ...]
) -> None:
    (problem,) = problems_of(write(tmp_path, content))
    assert all(word in problem for word in words)


def test_a_folder_in_place_of_the_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    assert "cannot be read" in problems_of(tmp_path)[0]


@pytest.mark.parametrize("raw", ["true", "80.0", '"80"', "[80]", "{}", "2026-01-01", "65536", "-1"])
def test_a_port_is_a_whole_number_in_range_and_nothing_else(tmp_path: Path, raw: str) -> None:
    (problem,) = problems_of(write(tmp_path, f"[server]\nport = {raw}\n"))
    assert problem.startswith("server.port (config.toml): found ")


@pytest.mark.parametrize("raw", ["nan", "inf", "-inf", "true", '"1"', "1e400"])
def test_a_number_is_finite_and_no_boolean(tmp_path: Path, raw: str) -> None:
    (problem,) = problems_of(write(tmp_path, f"[pool]\ndeadline_s = {raw}\n"))
    assert problem.startswith("pool.deadline_s (config.toml): found ")


@pytest.mark.parametrize("text", ["3", "maybe", "", '"true"'])
def test_a_switch_is_true_or_false(text: str) -> None:
    assert problems_of(NOWHERE, environ={"REGRANT_LOG__FILE": text})


def test_a_section_that_is_no_table_is_a_problem(tmp_path: Path) -> None:
    (problem,) = problems_of(write(tmp_path, 'server = "secret-word"\n'))
    assert problem == "server (config.toml): found text, allowed is a table"


def test_a_section_can_be_given_as_a_json_table_and_single_variables_win_over_it() -> None:
    environ = {
        "REGRANT_GOOGLE__ENDPOINTS": '{"token": "https://a.example/t", "revoke": "https://a.example/r"}',
        "REGRANT_GOOGLE__ENDPOINTS__TOKEN": "https://b.example/t",
    }
    loaded = load(NOWHERE, {}, environ)
    assert loaded.settings.google.endpoints.token == "https://b.example/t"
    assert loaded.settings.google.endpoints.revoke == "https://a.example/r"
    assert loaded.origins["google.endpoints.revoke"] == "environment REGRANT_GOOGLE__ENDPOINTS"
    assert problems_of(NOWHERE, environ={"REGRANT_GOOGLE__ENDPOINTS": '{"tokn": "x"}'})
    assert problems_of(NOWHERE, environ={"REGRANT_GOOGLE__ENDPOINTS": "[]"})


SECRET_SOURCES: list[tuple[str, dict[str, str]]] = [
    ("[server]\napi_key = 'pretend word 1'\n", {}),
    ("[server]\napi_key = ['pretend word 1']\n", {}),
    ("google = 'pretend word 1'\n", {}),
    ("[google]\nclients = 'pretend word 1'\n", {}),
    ("[google]\nclients = ['pretend word 1']\n", {}),
    ("[[google.clients]]\nclient_id = 'a'\nclient_secret = 'pretend word 1'\n", {}),
    ("[network]\nproxy = 'ftp://u:pretend word 1@h'\n", {}),
    ("[store]\nurl = 'mysql://u:pretend word 1@h'\n", {}),
    ("[notify]\nwebhooks = ['pretend word 1']\n", {}),
    ("[google.endpoints]\ntoken = 'https://u:pretend word 1@h'\n", {}),
    ("", {"REGRANT_GOOGLE__CLIENTS": '[{"client_secret": "pretend word 1"'}),
    ("", {"REGRANT_SERVER__API_KEY": "pretend word 1"}),
    ("", {"REGRANT_NOTIFY__WEBHOOKS": "pretend word 1"}),
]


@pytest.mark.parametrize(("text", "environ"), SECRET_SOURCES)
def test_no_problem_quotes_a_secret(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    problems = problems_of(write(tmp_path, text), environ=environ)
    assert "pretend" not in "\n".join(problems)


ENDPOINTS = sorted(key for key in BY_KEY if key.startswith("google.endpoints."))


@pytest.mark.parametrize("key", ENDPOINTS)
@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/token",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "http://127.0.0.1@example.org/",
        "http://example.org#127.0.0.1",
        "http://0.0.0.0:1",
        "http://10.0.0.1",
        "http://127.1",
        "http://2130706433",
        "http://[::ffff:127.0.0.1]",
        "http://[::2]",
        "http://\\127.0.0.1",
        "http://127.0.0.1\\.example.org",
        "http://lo\tcalhost",
        "http:///token",
        "HTTP://example.org",
        "ftp://localhost",
        "localhost",
        "https://",
        "https://a b",
        "https://host:99999",
        "https://host?x=1",
        "https://user:word@example.org",
        "https://a.org/b\\c",
    ],
)
def test_an_endpoint_that_would_carry_tokens_in_the_clear_is_refused(key: str, address: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make({key: address})
    assert caught.value.problems[0].startswith(key)


@pytest.mark.parametrize("key", ENDPOINTS)
@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:1", "http://127.255.0.9/x", "http://[::1]:8", "http://LOCALHOST", "https://e.org"],
)
def test_an_endpoint_is_https_or_this_machine_and_loses_its_trailing_slash(key: str, address: str) -> None:
    assert value_at(make({key: address + "/"}), key) == address


def test_only_the_vertex_endpoint_has_a_place_for_the_location() -> None:
    address = "https://{location}-aiplatform.example.org"
    assert make({"google.endpoints.vertex": address}).google.endpoints.vertex == address
    for bad in ("http://{location}", "http://127.0.0.{location}", "https://{region}.example.org"):
        with pytest.raises(SettingsError):
            make({"google.endpoints.vertex": bad})
    with pytest.raises(SettingsError):
        make({"google.endpoints.gemini": address})


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("server.host", ["0.0.0.0", "::", "localhost", "my-host.lan"], ["", "http://a", "a b", "[::1]"]),
        ("server.trusted_proxies", [["10.0.0.0/8", "::1"]], [["proxy"], "10.0.0.1", [1]]),
        ("server.allowed_hosts", [["A.example.org", "*.b.org"]], [["https://a"], ["a:1"], [""], ["*"]]),
        (
            "server.allowed_origins",
            [["https://a.org:8", "chrome-extension://abc"]],
            [["*"], ["https://a/b"], ["a"]],
        ),
        ("server.public_url", ["", "https://a.org/base"], ["a.org", "https://a?b", "ws://a"]),
        ("server.api_key", ["", "word"], ["two words", "line\n", "ü", MASK]),
        ("google.location", ["global", "us-east5"], ["", "US", "a.b", "a/b"]),
        ("google.upstream", ["vertex"], ["Vertex", ""]),
        (
            "models.aliases",
            [{"a": "b"}, {}, {"a": ["b", "c"]}],
            [{"a": 1}, {"a": ""}, [], {"a": []}, {"a": ["b", ""]}, {"a": ["b", "b"]}, {"a": [1]}],
        ),
        ("models.fallbacks", [{"a*": ["b", "c"]}, {"a": "b"}], [{"a": {}}, "a"]),
        (
            "models.rules",
            [
                [{"key": "ci"}],
                [{"key": "*", "aliases": {"a": ["b"]}, "allowed": ["*flash*"], "default": "x"}],
            ],
            [[{}], [{"key": ""}], [{"key": "a", "allowed": "b"}], [{"key": "a", "aliases": {"b": []}}]],
        ),
        (
            "network.proxy",
            ["", "none", "direct", "socks5://h", "socks5h://u:p@h:1", "http://h:1"],
            ["h:1", "ftp://h", "https://h:1", "socks4://h", "http://h/p", "http://h?a=b"],
        ),
        ("store.url", ["file:", "postgresql://u:p@h/db"], ["", "file:///x", "mysql://h"]),
        ("notify.webhooks", [["http://lan:1/x?t=1"]], [["ftp://x"], "http://x"]),
        ("quota.timezone", ["UTC", "Europe/Berlin"], ["", "../etc/passwd", "/etc/localtime", "America"]),
        (
            "quota.limits",
            [[{"model": "m", "requests_per_day": 5}]],
            [[{}], [{"model": "m", "requests_per_day": -1}]],
        ),
    ],
)
def test_each_kind_accepts_what_it_says_and_refuses_the_rest(
    key: str, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        make({key: value})
    for value in bad:
        with pytest.raises(SettingsError):
            make({key: value})


def test_the_default_oauth_client_comes_first_and_the_others_keep_their_order() -> None:
    clients = [{"client_id": "b", "client_secret": "pretend-b", "name": "second"}, {"client_id": "a"}]
    google = make(
        {"google.client_id": "c", "google.client_secret": "pretend-c", "google.clients": clients}
    ).google
    found = google.oauth_clients()
    assert list(found) == ["c", "b", "a"]
    assert found["b"].client_secret == Secret("pretend-b")
    assert found["b"].name == "second"
    assert make().google.oauth_clients() == {}


def test_an_oauth_client_that_is_given_twice_is_a_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        make(
            {
                "google.client_id": "c",
                "google.clients": [{"client_id": "d"}, {"client_id": "c"}, {"client_id": "d"}],
            }
        )
    assert [problem.split(" ")[0] for problem in caught.value.problems] == [
        "google.clients[1].client_id",
        "google.clients[2].client_id",
    ]


def test_a_client_secret_without_a_client_is_a_problem() -> None:
    with pytest.raises(SettingsError, match=r"google\.client_secret"):
        make({"google.client_secret": "pretend"})


def test_description_masks_every_secret_and_names_every_origin(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[server]\napi_key="pretend-1"\n[google]\nclient_id="c"\nclient_secret="pretend-2"\n'
        '[[google.clients]]\nclient_id="d"\nclient_secret="pretend-3"\n'
        '[network]\nproxy="http://user:pretend-4@proxy.lan:3128"\n'
        '[store]\nurl="postgresql://user:pretend-5@db/regrant?password=pretend-6"\n'
        '[notify]\nwebhooks=["https://hooks.lan/pretend-7"]\n',
    )
    loaded = load(tmp_path, {}, {})
    shown = {row.key: row for row in describe(loaded)}
    assert list(shown) == [row.key for row in SETTINGS]
    assert "pretend" not in repr(list(shown.values()))
    assert "pretend" not in repr(loaded)
    assert shown["network.proxy"].value == f'"http://{MASK}@proxy.lan:3128"'
    assert shown["google.clients"].value == f'[{{"client_id": "d", "client_secret": "{MASK}", "name": ""}}]'
    assert shown["server.api_key"].origin == "config.toml"
    assert shown["server.port"] == ("server.port", "8045", "default")


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_a_file_with_a_secret_that_others_may_read_is_warned_about(tmp_path: Path) -> None:
    write(tmp_path, '[server]\napi_key = "pretend-1"\n').joinpath("config.toml").chmod(0o644)
    (warning,) = load(tmp_path, {}, {}).warnings
    assert "chmod 600" in warning
    write(tmp_path, "[server]\nport = 1\n").joinpath("config.toml").chmod(0o644)
    assert load(tmp_path, {}, {}).warnings == ()


def test_only_host_port_and_workers_need_a_restart() -> None:
    new = make({"server.host": "::1", "server.port": 1, "server.workers": 2, "log.level": "debug"})
    assert restart_needed(make(), new) == ["server.host", "server.port", "server.workers"]
    assert restart_needed(new, new) == []


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("server.port", "80", 80),
        ("log.file", "off", False),
        ("pool.rescue_s", "1.5", 1.5),
        ("server.auth_mode", "strict", "strict"),
        ("server.api_key", "123", "123"),
        ("models.aliases", '{"a": "b"}', {"a": "b"}),
        ("server.allowed_hosts", '["a"]', ["a"]),
    ],
)
def test_command_line_text_is_read_by_the_type_of_its_key(key: str, text: str, value: Any) -> None:
    assert parse_value(key, text) == value


@pytest.mark.parametrize(
    ("key", "text"), [("server.port", "http"), ("server.prot", "1"), ("server.allowed_hosts", "a,b")]
)
def test_command_line_text_that_does_not_fit_is_refused_with_its_key(key: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_value(key, text)
    assert caught.value.problems[0].startswith(f"{key}: ")


def test_two_rules_for_one_key_and_every_wrong_model_are_told_together() -> None:
    rules = [{"key": "ci"}, {"key": "ci", "aliases": {"a": ["b", "b"]}}]
    with pytest.raises(SettingsError) as caught:
        make({"models.rules": rules, "models.aliases": {"x": ["", 1]}})
    assert len(caught.value.problems) == 3
    with pytest.raises(SettingsError) as caught:
        make({"models.rules": [{"key": "ci"}, {"key": "*"}, {"key": "ci"}]})
    assert caught.value.problems == (
        'models.rules[2].key (flag): found "ci" of models.rules[0].key again, allowed is each key once',
    )


def test_a_chain_of_one_is_shown_as_it_is_mostly_written() -> None:
    kind = BY_KEY["models.aliases"].kind
    assert kind.show(kind.accept({"a": ["b"], "c": ["d", "e"]})) == '{"a": "b", "c": ["d", "e"]}'


words = st.text(string.ascii_letters + string.digits + "-._*", min_size=1)
client_lists = st.lists(
    st.fixed_dictionaries({"client_id": words, "client_secret": words, "name": texts}),
    unique_by=lambda item: item["client_id"],
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "server.port": st.integers(0, 65535),
    "pool.deadline_s": st.floats(1, 3600),
    "quota.protection": st.booleans(),
    "google.scopes": st.lists(words),
    "google.clients": client_lists,
    "models.aliases": st.dictionaries(texts, texts.filter(bool)),
    "quota.limits": st.lists(
        st.fixed_dictionaries({"model": words, "requests_per_day": st.integers(0, 10**12)})
    ),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_every_value_survives_the_way_through_the_environment(values: dict[str, Any]) -> None:
    environ = {BY_KEY[key].environment: json.dumps(value) for key, value in values.items()}
    assert load(NOWHERE, {}, environ).settings == make(values)


@given(st.dictionaries(st.sampled_from([row.environment for row in SETTINGS]), texts))
def test_any_text_in_the_environment_is_accepted_or_told_and_never_crashes(environ: dict[str, str]) -> None:
    try:
        told = load(NOWHERE, {}, environ).warnings
    except SettingsError as error:
        told = error.problems
    assert all("(environment REGRANT_" in problem for problem in told)


def test_plain_masks_secrets_at_every_depth() -> None:
    assert plain({"a": [Secret("pretend"), (Secret("pretend"),)]}) == {"a": [MASK, [MASK]]}


def test_a_webhook_is_an_address_alone_or_a_table_and_is_named_after_its_host() -> None:
    plain, full = make(
        {
            "notify.webhooks": [
                "https://hooks.example.org/pretend-path",
                {
                    "url": "http://10.0.0.7:8080/x",
                    "format": "slack",
                    "secret": "pretend-word",
                    "events": ["pool_empty"],
                    "name": "team",
                },
            ]
        }
    ).notify.webhooks
    assert (plain.url, plain.format, plain.secret, plain.events, plain.name) == (
        Secret("https://hooks.example.org/pretend-path"),
        "auto",
        Secret(""),
        (),
        "hooks.example.org",
    )
    assert (full.format, full.secret, full.events, full.name) == (
        "slack",
        Secret("pretend-word"),
        ("pool_empty",),
        "team",
    )


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("https://hooks.example.org/x?y=z", True),
        ("http://hooks.example.org/x", False),
        ("https://user:word@hooks.example.org/x", False),
        ("http://127.0.0.1:9/x", True),
        ("http://localhost:9", True),
        ("http://[::1]:9/", True),
        ("http://192.168.1.5/x", True),
        ("http://100.64.0.9/x", True),
        ("http://[fd00::1]/x", True),
        ("http://8.8.8.8/x", False),
        ("http://[::ffff:8.8.8.8]/x", False),
        ("http://224.0.0.1/x", False),
        ("http://ntfy/alerts", True),
        ("http://ntfy.lan/alerts", True),
        ("http://ntfy.home.arpa./alerts", True),
        ("http://lan.example.org/alerts", False),
    ],
)
def test_a_webhook_is_told_over_tls_unless_it_is_near(address: str, fine: bool) -> None:
    if fine:
        make({"notify.webhooks": [address]})
    else:
        with pytest.raises(SettingsError, match="https://"):
            make({"notify.webhooks": [address]})


def test_every_fault_of_every_webhook_is_told_at_once_and_none_is_quoted(tmp_path: Path) -> None:
    write(
        tmp_path,
        "[[notify.webhooks]]\nurl='http://example.org/pretend-path'\nformat='teams'\nevents=['died']\n"
        "[[notify.webhooks]]\nname='no address'\nadress='https://pretend.example.org'\n",
    )
    problems = problems_of(tmp_path)
    assert [problem.split(" ")[0] for problem in problems] == [
        "notify.webhooks[0].url",
        "notify.webhooks[0].format",
        "notify.webhooks[0].events[0]",
        "notify.webhooks[1].url",
    ]
    assert "pretend" not in "\n".join(problems)


def test_a_webhook_is_shown_by_name_and_its_address_is_not(tmp_path: Path) -> None:
    write(tmp_path, "[[notify.webhooks]]\nurl='https://hooks.lan/pretend-7'\nsecret='pretend-8'\n")
    [shown] = [row.value for row in describe(load(tmp_path, {}, {})) if row.key == "notify.webhooks"]
    assert "pretend" not in shown
    assert '"name": "hooks.lan"' in shown


def test_an_ntfy_webhook_needs_its_topic() -> None:
    make({"notify.webhooks": [{"url": "https://push.example.org/topic", "format": "ntfy"}]})
    with pytest.raises(SettingsError, match=r"notify\.webhooks\[0\]\.url .* topic"):
        make({"notify.webhooks": [{"url": "https://push.example.org/", "format": "ntfy"}]})
