"""Settings and signing in, by clicking, in a real browser."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmasos.library.store import Library
from llmasos.studio.accounts.passwords import Passwords
from llmasos.studio.accounts.users import UserStore
from studio.studio_server import Watched, announced_studio
from tiny_models import build

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Open = Callable[..., Watched]
ADA, BOB = ("Ada", "correct horse"), ("Bob", "battery staple")
#: Names of the tabs, with a heading of what each shows.
TABS = {
    "en": {"General": "This browser", "Storage": "Home folder", "Sources": "Registries", "Keys": "Keys",
           "People": "People", "All settings": "threads"},
    "zh": {"常规": "此浏览器", "存储": "主文件夹", "来源": "镜像仓库", "密钥": "密钥", "用户": "用户",
           "全部设置": "threads"},
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build("llama", tmp_path_factory.mktemp("models") / "llama"))


@pytest.fixture(scope="module")
def address(chromium: Any, studio_home: Path, tiny_model: str) -> Iterator[str]:
    """A Studio of this machine, without accounts."""
    with announced_studio(studio_home, tiny_model) as told:
        assert told["setup_code"] is None
        yield told["address"]


@pytest.fixture(scope="module")
def open_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("open") / "home"


@pytest.fixture(scope="module")
def open_studio(chromium: Any, open_home: Path, tiny_model: str) -> Iterator[dict[str, Any]]:
    """A Studio that other machines can reach; its first browser, a phone in China, has made the admin."""
    with announced_studio(open_home, tiny_model, "--host", "0.0.0.0") as told:
        context = chromium.new_context(base_url=told["address"], viewport={"width": 360, "height": 800}, locale="zh-CN")
        page = context.new_page()
        page.goto("/studio/models")
        assert page.url.endswith("/studio/first-admin")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.get_by_label("设置码").fill(told["setup_code"])
        page.get_by_label("名称").fill(ADA[0])
        page.get_by_label("新密码", exact=True).fill(ADA[1])
        page.get_by_label("再次输入新密码").fill(ADA[1])
        page.get_by_role("button", name="创建账号").click()
        page.get_by_role("main").wait_for()
        assert page.url.endswith("/studio/")
        context.close()
        yield told


@pytest.fixture
def browser(chromium: Any, open_studio: dict[str, Any]) -> Iterator[Callable[..., Any]]:
    """Opens pages of browsers that share nothing, at the Studio that other machines can reach."""
    contexts = []

    def open_one(path: str = "/", **options: Any) -> Any:
        contexts.append(chromium.new_context(base_url=open_studio["address"], **options))
        contexts[-1].set_default_timeout(60_000)
        page = contexts[-1].new_page()
        page.goto(f"/studio{path}")
        return page

    yield open_one
    for context in contexts:
        context.close()


def users(home: Path) -> UserStore:
    return UserStore(Library(home).catalogue.database, Passwords())


def sign_in(page: Any, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def tab(page: Any, name: str, language: str = "en") -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    page.get_by_role("heading", name=TABS[language][name], exact=True).wait_for()


def grave(page: Any) -> list[Any]:
    """What axe finds serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    page.add_style_tag(content="* {transition: none !important; animation: none !important}")
    page.wait_for_timeout(300)  # what fades in has no contrast yet
    found = Axe().run(page).response["violations"]
    return [(item["id"], [node["html"] for node in item["nodes"]]) for item in found
            if item["impact"] in ("serious", "critical")]  # fmt: skip


def test_the_first_browser_with_the_code_has_made_the_admin(browser: Callable[..., Any], open_home: Path) -> None:
    assert ADA[0] in [user.name for user in users(open_home).list() if user.is_admin]
    assert browser("/first-admin").url.endswith("/studio/sign-in")


def test_strangers_get_nothing_and_programs_need_a_key(open_studio: dict[str, Any]) -> None:
    with httpx.Client(base_url=open_studio["address"]) as client:
        assert client.get("/studio/models").status_code == 401
        polling = client.get("/studio/_nicegui_ws/socket.io/", params={"EIO": "4", "transport": "polling"})
        assert polling.status_code == 401
        assert client.put("/studio/uploads/data.csv", content=b"a,b\n").status_code == 401
        assert client.get("/v1/models").status_code == 401
        assert client.get("/health").status_code == 200


def test_whoever_signs_out_is_out_everywhere(browser: Callable[..., Any]) -> None:
    page = browser("/runs")
    sign_in(page, ADA[0], "a wrong one")
    page.get_by_role("alert").get_by_text("the name or the password is wrong").wait_for()
    sign_in(page, *ADA)
    page.get_by_role("main").wait_for()
    assert page.url.endswith("/studio/runs")
    cookie = next(item for item in page.context.cookies() if item["name"] == "llmasos_session")
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["path"] == "/studio"
    assert "llmasos_session" not in page.evaluate("document.cookie")
    page.get_by_role("button", name="Account").click()
    page.get_by_text("Change the password").click()
    page.get_by_role("heading", name="Change the password").wait_for()
    page.goto("/studio/runs")
    page.get_by_role("main").wait_for()
    second = page.context.new_page()
    second.goto("/studio/serve")
    second.get_by_role("heading", level=1).wait_for()
    page.get_by_role("button", name="Account").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    second.get_by_role("heading", name="Sign in").wait_for()
    page.goto("/studio/runs")
    page.get_by_role("heading", name="Sign in").wait_for()


def test_members_use_everything_and_manage_nothing(browser: Callable[..., Any], tiny_model: str) -> None:
    admin = browser("/settings")
    sign_in(admin, *ADA)
    tab(admin, "People")
    admin.get_by_role("button", name="Add somebody").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Name").fill(BOB[0])
    dialog.get_by_label("New password", exact=True).fill(BOB[1])
    dialog.get_by_label("New password again").fill("another")
    dialog.get_by_role("button", name="Add").click()
    admin.get_by_text("the two new passwords differ").wait_for()
    dialog.get_by_label("New password again").fill(BOB[1])
    dialog.get_by_role("button", name="Add").click()
    admin.get_by_role("heading", name=BOB[0], level=3).wait_for()

    member = browser("/settings")
    sign_in(member, *BOB)
    member.get_by_role("tab", name="Storage").wait_for()
    assert member.get_by_role("tab").all_inner_texts() == ["General", "Storage"]
    tab(member, "Storage")
    member.get_by_text("Together").wait_for()
    assert member.get_by_role("button", name="Look what would go").count() == 0
    member.goto("/studio/serve")
    member.get_by_role("heading", name="Keys").wait_for()
    assert member.get_by_role("button", name="New key").count() == 0

    admin.get_by_role("button", name=f"Make {BOB[0]} an admin").click()
    admin.get_by_role("button", name="Change", exact=True).click()
    member.get_by_role("heading", name="Sign in").wait_for()
    admin.get_by_role("button", name=f"Remove {BOB[0]}").click()
    admin.get_by_role("button", name="Remove", exact=True).click()
    admin.get_by_role("heading", name=BOB[0], level=3).wait_for(state="detached")
    sign_in(member, *BOB)
    member.get_by_role("alert").wait_for()
    admin.get_by_role("button", name=f"Remove {ADA[0]}").click()
    admin.get_by_role("button", name="Remove", exact=True).click()
    admin.get_by_text("Ada is the only admin").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_forms_without_scripts_are_accessible(browser: Callable[..., Any], theme: str) -> None:
    page = browser("/", color_scheme=theme, viewport={"width": 360, "height": 800})
    assert page.get_by_role("heading", name="Sign in").is_visible()
    # The page forbids scripts, so axe looks at its content in a page that does not.
    content, blank = page.content(), page.context.new_page()
    blank.set_content(content)
    assert grave(blank) == []


@pytest.mark.parametrize(("language", "width"), [("en", 1440), ("zh", 360)])
def test_every_section_is_shown(open_browser: Open, language: str, width: int) -> None:
    page = open_browser(language=language, width=width).open("/settings")
    page.get_by_role("heading", level=1).wait_for()
    for name in TABS[language]:
        tab(page, name, language)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_settings_are_accessible(open_browser: Open, address: str, theme: str) -> None:
    watched = open_browser()
    watched.page.context.add_cookies([{"name": "llmasos_theme", "value": theme, "url": address}])
    page = watched.open("/settings")
    for name in TABS["en"]:
        tab(page, name)
        assert grave(page) == [], name


def test_a_setting_is_changed_and_put_back(open_browser: Open, studio_home: Path) -> None:
    page = open_browser().open("/settings")
    tab(page, "All settings")
    assert page.get_by_role("button", name="Change threads").count() == 0, "the variable LLMASOS_THREADS decides"
    assert page.get_by_role("button", name="Change home").count() == 0
    page.get_by_role("button", name="Change parallel_downloads").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("parallel_downloads").fill("99")
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_role("alert").get_by_text("less than or equal to 32").wait_for()
    dialog.get_by_label("parallel_downloads").fill("7")
    dialog.get_by_role("button", name="Save").click()
    page.get_by_text("parallel_downloads is saved.").first.wait_for()
    assert tomllib.loads((studio_home / "config.toml").read_text())["parallel_downloads"] == 7
    page.get_by_role("button", name="Change parallel_downloads").click()
    page.get_by_role("button", name="Back to the default").click()
    dialog.wait_for(state="hidden")
    assert "parallel_downloads" not in (studio_home / "config.toml").read_text()


def test_registries_are_added_and_removed(open_browser: Open, studio_home: Path) -> None:
    page = open_browser().open("/settings")
    tab(page, "Sources")
    page.get_by_label("Registry", exact=True).fill("not a host")
    page.get_by_role("button", name="Add").click()
    page.get_by_text(re.compile("not a host")).first.wait_for()
    page.get_by_label("Registry", exact=True).fill("registry.example/models")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Remove registry.example/models").click()
    page.get_by_text("None is searched.").wait_for()
    assert tomllib.loads((studio_home / "config.toml").read_text())["registries"] == []


def test_an_account_at_a_registry_is_checked_and_forgotten(open_browser: Open, studio_home: Path) -> None:
    import base64
    import json

    kept = {"auths": {"registry.example": {"auth": base64.b64encode(b"ada:top secret").decode()}}}
    (studio_home / "registries.json").write_text(json.dumps(kept))
    page = open_browser().open("/settings")
    tab(page, "Sources")
    page.get_by_text("registry.example").wait_for()
    assert "top secret" not in page.content() and kept["auths"]["registry.example"]["auth"] not in page.content()
    page.get_by_role("button", name="Sign in to a registry").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Registry (host or host:port)").fill("127.0.0.1:1")
    dialog.get_by_label("Name").fill("ada")
    dialog.get_by_label("Password or token").fill("wrong")
    dialog.get_by_role("button", name="Sign in").click()
    page.get_by_text(re.compile("127.0.0.1:1")).first.wait_for()
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Sign out of registry.example").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_text("There are none.").wait_for()
    assert json.loads((studio_home / "registries.json").read_text()) == {"auths": {}}


def test_cleaning_up_shows_what_goes_before_it_goes(open_browser: Open, studio_home: Path) -> None:
    waste = studio_home / "blobs" / "sha256" / ("0" * 64)
    waste.parent.mkdir(parents=True, exist_ok=True)
    waste.write_bytes(b"x" * 2048)
    page = open_browser().open("/settings")
    tab(page, "Storage")
    page.get_by_role("button", name="Look what would go").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("1, 2.0 KiB").wait_for()
    assert waste.exists()
    dialog.get_by_role("button", name="Clean up").click()
    page.get_by_text("2.0 KiB got free.").first.wait_for()
    assert not waste.exists()
