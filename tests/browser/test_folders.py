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


def test_a_file_that_was_sent_and_is_refused_says_so_where_it_was_sent(page: Page) -> None:
    """Its line does not go on to say that it is being read."""
    page.goto("/folders")
    chosen = page.get_by_label("Drop safetensors files here")
    chosen.set_input_files(
        {
            "name": "broken.safetensors",
            "mimeType": "application/octet-stream",
            "buffer": b"\xff" * 64,
        }
    )

    line = page.locator("#sending li")
    expect(line).to_have_text(
        "broken.safetensors: is not safetensors: no JSON where its header should be",
        timeout=60_000,
    )
    expect(page.locator("#said")).to_have_text(line.inner_text())

    own = page.locator("section.folder", has_text="dropped")
    own.get_by_role("button", name="Watch no more").click()
    expect(page.locator("section.folder", has_text="dropped")).to_have_count(0)


def test_the_first_files_lead_to_their_list_as_soon_as_they_are_found(
    page: Page, tmp_path: Path
) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    page.goto("/folders")
    page.get_by_label("A folder on this machine").fill(str(folder))
    page.get_by_role("button", name="Add folder").click()
    own = page.locator("section.folder", has_text=str(folder))
    expect(own).to_contain_text("0 adapters can be found", timeout=60_000)
    shown = page.get_by_role("link", name="Show my files")
    expect(shown).to_have_count(0)

    write_adapter(folder / "badger.safetensors", make_factors(91))
    own.get_by_role("button", name=f"Look again: {folder}").click()
    expect(shown).to_be_visible(timeout=60_000)

    (folder / "badger.safetensors").unlink()
    own.get_by_role("button", name=f"Look again: {folder}").click()
    expect(shown).to_have_count(0, timeout=60_000)
    own.get_by_role("button", name="Watch no more").click()
    expect(own).to_have_count(0)


def test_a_folder_that_is_dropped_is_told_what_to_do_with_it_and_a_file_beside_it_is_sent(
    page: Page, tmp_path: Path
) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    file = tmp_path / "notes.txt"
    file.write_bytes(b"x")
    page.route("**/v1/folders/files?*", lambda route: route.fulfill(status=202, json={}))
    page.goto("/folders")
    browser = page.context.new_cdp_session(page)
    box = page.locator("#drop").bounding_box()
    assert box is not None
    held = {"items": [], "files": [str(folder), str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send(
            "Input.dispatchDragEvent",
            {"type": kind, "x": box["x"] + 9, "y": box["y"] + 9, "data": held},
        )

    advice = "loras is a folder: type its whole path above, or drop the files that are in it."
    expect(page.locator("#sending li").first).to_have_text(advice)
    expect(page.locator("#sending li").last).to_contain_text("notes.txt was sent")
