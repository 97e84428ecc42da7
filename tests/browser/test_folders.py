"""One's own files, from the page."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.looking import violations, widths_that_overflow
from tests.encoder.builders import make_factors, write_adapter


def test_a_folder_is_indexed_and_a_copy_in_it_goes_to_the_trash(
    page: Page, tmp_path: Path, trash: Path
) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    file = write_adapter(folder / "badger.safetensors", make_factors(91))
    copy = folder / "badger again.safetensors"
    copy.write_bytes(file.read_bytes())
    page.goto("/folders")
    page.get_by_label("A folder on this machine").fill(str(folder))
    page.get_by_role("button", name="Add folder").click()
    own = page.locator("section.folder", has_text=str(folder))
    expect(own).to_contain_text("2 adapters can be found", timeout=60_000)
    assert violations(page) == []
    assert widths_that_overflow(page) == {}

    page.get_by_role("link", name="Find copies").click()
    page.get_by_label(f"Move {copy} to the trash").check()
    assert violations(page) == []
    assert widths_that_overflow(page) == {}
    page.get_by_role("button", name="Move to the trash").click()
    expect(own).to_contain_text("1 adapter can be found", timeout=60_000)
    assert [path.name for path in trash.iterdir()] == [copy.name]
    assert file.exists()

    own.get_by_role("button", name="Watch no more").click()
    # What was found there still can be, so it is offered to be watched again.
    expect(own.get_by_role("button", name=f"Watch {folder}")).to_be_visible()
    expect(own.get_by_role("button", name="Watch no more")).to_have_count(0)
