"""Cells, drawings and controls in a real JupyterLab: what a learner's mouse and keyboard do there."""

from __future__ import annotations

import json

import pytest

from tests.browser.conftest import CELLS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAMES = list(CELLS)


def cell(name: str) -> str:
    """The CSS selector of a cell by its name in CELLS."""
    return f".jp-Cell[data-windowed-list-index='{NAMES.index(name) + 1}']"


def output(notebook, name: str) -> str:
    """The text that a cell's outputs show."""
    return notebook.page.run(f"document.querySelector({json.dumps(cell(name) + ' .jp-Cell-outputArea')}).innerText")


def label_of_drawing(name: str) -> str:
    """A JavaScript expression: the accessible name of the drawing in a cell's output."""
    return f"document.querySelector({json.dumps(cell(name) + ' svg.nk[role=img]')})?.getAttribute('aria-label')"


def choose_next(notebook, group: str) -> None:
    """Choose the radio button behind the chosen one by keyboard: Tab to it, then Space."""
    page = notebook.page
    page.run(f"(()=>{{document.querySelector({json.dumps(group + ' input:checked')}).focus();return true}})()")
    page.key("Tab", 9)
    page.wait(f"!!document.activeElement.closest({json.dumps(group)})&&!document.activeElement.checked", "the focus", 5)
    page.key(" ", 32, " ")


def test_only_the_deliberate_error_is_one(notebook):
    errors = notebook.errors()
    assert len(errors) == 1 and "'broken' cannot be used" in errors[0]
    assert all(c["executionCount"] for c in notebook.cells() if c["type"] == "code")


def test_journey_is_drawn_with_its_text_alternative(notebook):
    assert notebook.page.run(label_of_drawing("setup")).endswith("delivered at outside (eth0)")
    desc = notebook.page.run(f"document.querySelector({json.dumps(cell('setup') + ' svg.nk desc')}).textContent")
    assert "netkit_xmit" in desc and "softirq context" in desc


def test_drawing_fits_its_cell(notebook):
    wide, room = notebook.page.run(
        f"(()=>{{const s=document.querySelector({json.dumps(cell('setup') + ' svg.nk')});"
        "return [s.getBoundingClientRect().width,s.closest('.jp-OutputArea-output').clientWidth]})()"
    )
    assert 700 < wide <= min(room, 900)


def test_no_text_of_a_drawing_covers_another_as_rendered(notebook):
    """The drawing reckons with rough widths of letters; here the browser measures them."""
    covered = notebook.page.run(
        "(()=>{const out=[];for(const svg of document.querySelectorAll('svg.nk[role=img]')){"
        "const t=[...svg.querySelectorAll('text:not(.letter)')].map(e=>[e.textContent,e.getBBox()]);"
        "t.forEach(([a,p],i)=>t.slice(i+1).forEach(([b,q])=>{"
        "if(Math.min(p.x+p.width,q.x+q.width)-Math.max(p.x,q.x)>1&&"
        "Math.min(p.y+p.height*.8,q.y+q.height*.8)-Math.max(p.y+p.height*.2,q.y+q.height*.2)>0)out.push([a,b])}))}"
        "return out})()"
    )
    assert covered == []


def test_cell_says_that_it_compiled(notebook):
    assert "knob: compiled, 10 instructions" in output(notebook, "program")
    assert "Not verified yet" in output(notebook, "program")


def test_mistake_is_announced_at_the_cells_own_line(notebook):
    line = next(i for i, text in enumerate(CELLS["mistake"].splitlines(), 1) if "nonsense" in text)
    assert f"line {line}" in output(notebook, "mistake")
    assert notebook.page.run(f"!!document.querySelector({json.dumps(cell('mistake') + ' [role=alert]')})")


def test_clicking_the_knob_redraws_the_journey(notebook):
    page = notebook.page
    assert "delivered" in page.run(label_of_drawing("knob"))
    for nth, says, verdict in ((3, "dropped", "DROP"), (1, "delivered", "NEXT")):
        page.click(f"{cell('knob')} .nk-verdict-knob .widget-radio-box label:nth-of-type({nth})")
        page.wait(f"{label_of_drawing('knob')}.includes('{says}')", f"a journey that ends {says}", 15)
        assert verdict in output(notebook, "knob")


def test_knob_turns_by_keyboard(notebook):
    page = notebook.page
    page.click(f"{cell('knob')} .nk-verdict-knob .widget-radio-box label:nth-of-type(2)")
    page.wait(f"{label_of_drawing('knob')}.includes('delivered')", "a delivered journey", 15)
    choose_next(notebook, f"{cell('knob')} .nk-verdict-knob")
    page.wait(f"{label_of_drawing('knob')}.includes('dropped')", "a dropped journey after the keyboard", 15)


def test_policy_switches_by_keyboard(notebook):
    page = notebook.page
    page.wait(f"{label_of_drawing('switch')}.includes('delivered')", "a delivered journey", 15)
    choose_next(notebook, f"{cell('switch')} .nk-peer-policy")
    page.wait(f"{label_of_drawing('switch')}.includes('dropped')", "a dropped journey", 15)
    assert "peer_policy" in output(notebook, "switch")


def test_every_control_has_a_label(notebook):
    unnamed = notebook.page.run(
        "[...document.querySelectorAll('.jp-OutputArea input, .jp-OutputArea button')].filter(e=>"
        "!(e.labels?.length||e.getAttribute('aria-label')||e.innerText.trim()||e.title)).map(e=>e.outerHTML)"
    )
    assert unnamed == []


def test_prediction_is_answered_after_the_commitment(notebook):
    page = notebook.page
    assert page.run(f"document.querySelector({json.dumps(cell('predict') + ' .nk-commit')}).disabled")
    assert "It happened" not in output(notebook, "predict")
    page.click(f"{cell('predict')} .nk-prediction .widget-radio-box label:nth-of-type(1)")
    page.wait(f"!document.querySelector({json.dumps(cell('predict') + ' .nk-commit')}).disabled", "the button", 15)
    page.run(f"(()=>{{document.querySelector({json.dumps(cell('predict') + ' .nk-commit')}).focus();return true}})()")
    page.key(" ", 32, " ")
    page.wait(
        f"document.querySelector({json.dumps(cell('predict') + ' .jp-Cell-outputArea')}).innerText"
        ".includes('It happened')", "the outcome", 15,
    )  # fmt: skip
    assert page.run(label_of_drawing("predict"))
    page.wait(
        f"document.querySelector({json.dumps(cell('predict') + ' .nk-commit')}).innerText==='Committed'", "its word", 5
    )
    assert page.run("document.activeElement.classList.contains('nk-commit')")
    button, outcome = page.run(
        f"['.nk-commit','[role=status]'].map(s=>document.querySelector({json.dumps(cell('predict'))}+' '+s)"
        ".getBoundingClientRect().top)"
    )
    assert button < outcome


def test_knob_follows_a_cell_and_sends_again(notebook):
    """A cell writes the map: the knob moves and says that the journey is older, until it is sent again."""
    page = notebook.page
    page.click(f"{cell('knob')} .nk-verdict-knob .widget-radio-box label:nth-of-type(2)")
    page.wait(f"{label_of_drawing('knob')}.includes('delivered')", "a delivered journey", 15)
    notebook.execute('att.maps["verdict"][0] = nk.Verdict.DROP')
    third = f"document.querySelector({json.dumps(cell('knob') + ' .nk-verdict-knob label:nth-of-type(3) input')})"
    page.wait(f"{third}.checked", "the knob at DROP", 15)
    page.wait(
        f"document.querySelector({json.dumps(cell('knob'))}).innerText.includes('Changed elsewhere since')", "words", 15
    )
    assert "delivered" in page.run(label_of_drawing("knob"))
    page.click(f"{cell('knob')} .nk-again")
    page.wait(f"{label_of_drawing('knob')}.includes('dropped')", "a dropped journey", 15)
    assert "Changed elsewhere" not in output(notebook, "knob")


def test_stepper_steps(notebook):
    page, shown = notebook.page, f"document.querySelector({json.dumps(cell('stepper') + ' .cols')}).innerText"
    before = page.run(shown)
    page.click(f"{cell('stepper')} .nk-step")
    page.wait(f"{shown}!=={json.dumps(before)}", "the next instruction", 15)


def test_last_picture_is_part_of_the_notebook(notebook):
    """What a knob drew last is an ordinary output: it is saved, exported and printed."""
    outputs = notebook.cells()[NAMES.index("knob") + 1]["outputs"]
    html = ["".join(o["data"].get("text/html", "")) for o in outputs if o["output_type"] == "display_data"]
    assert any("<svg" in h and "the program returns" in h for h in html)


def test_drawings_follow_jupyterlabs_theme(notebook):
    ink = f"getComputedStyle(document.querySelector({json.dumps(cell('setup') + ' svg.nk text')})).fill"
    ground = f"getComputedStyle(document.querySelector({json.dumps(cell('setup') + ' svg.nk rect')})).fill"
    seen = {}
    for dark in (True, False):
        notebook.theme(dark)
        seen[dark] = notebook.page.run(ink), notebook.page.run(ground)
    light_of = {dark: [sum(map(int, c[4:-1].split(","))) for c in pair] for dark, pair in seen.items()}
    assert light_of[True][0] > light_of[True][1] and light_of[False][0] < light_of[False][1]


def test_nothing_is_loaded_from_elsewhere(notebook):
    names = notebook.page.run("performance.getEntriesByType('resource').map(e=>e.name)")
    port = notebook.page.run("location.host")
    assert names and all(f"//{port}/" in name or name.startswith(("data:", "blob:")) for name in names)
