"""The controls: what turning them does, what they say, and what stays when no widget runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.journey import FateKind
from netkit_edu.uapi import Policy
from netkit_edu.ui.predict import PredictionView, show_prediction
from tests.draw import samples
from tests.ui.conftest import KNOB


@pytest.fixture
def knob():
    """A program that returns what its map says, and a knob on it that runs it."""
    program = nk.compile(KNOB)["knob"]
    return nk.VerdictKnob(program, send=lambda: program.run(samples.UDP))


def test_turning_the_knob_writes_the_map_and_sends_again(knob):
    seen = []
    for code in (-1, 0, 2, 7, 3):
        knob.widget().value = code
        seen.append(knob.result.code)
    assert seen == [-1, 0, 2, 7, 3]
    assert knob.value == 3 and "unknown 3" in knob.words()


def test_setting_the_knob_from_a_cell_moves_the_widget(knob):
    knob.widget()
    knob.value = nk.Verdict.DROP
    assert knob.widget().value == 2 and knob.result.code == 2


def test_knob_turned_to_what_a_cell_wrote_sends_again(knob):
    assert knob.widget().value == 0 and knob.result.code == 0
    knob.map[0] = nk.Verdict.DROP
    knob.widget().value = 2
    assert knob.result.code == 2


def test_controls_follow_what_a_cell_changed_and_send_nothing(shell):
    shell.run(
        "import netkit_edu as nk\nfrom tests.draw import samples\nfrom tests.ui.conftest import KNOB\n"
        "program = nk.compile(KNOB)['knob']\nsent = []\n"
        "def send():\n    sent.append(1)\n    return program.run(samples.UDP)\n"
        "knob = nk.VerdictKnob(program, send=send)"
    )
    shell.run("knob")
    knob, sent = shell.ip.user_ns["knob"], shell.ip.user_ns["sent"]
    shell.run("1 + 1")
    assert not shell.shown
    shell.run("program.maps['verdict'][0] = nk.Verdict.DROP")
    assert knob.widget().value == 2 and sent == [1]
    assert "DROP" in shell.text() and "Changed elsewhere since" in shell.text() and knob.result.code == 0
    shell.run("program.maps['verdict'][0] = 99")
    assert knob.widget().value is None and sent == [1]
    shell.run("knob.again()")
    assert knob.result.code == 99 and "Changed elsewhere" not in shell.text()
    shell.run("1 + 1")
    assert not shell.shown and sent == [1, 1]


def test_control_whose_thing_is_gone_disturbs_no_cell(shell):
    shell.run("import netkit_edu as nk\nm = {0: 0}\nnk.VerdictKnob(m, send=lambda: 1)")
    assert shell.run("m.clear()").success and not shell.tracebacks
    assert shell.run("m[0] = 2").success and not shell.shown


def test_switch_follows_a_policy_that_a_cell_set(shell):
    p = pair()
    switch = nk.PolicySwitch(p, send=samples.veth)
    switch._ipython_display_()
    p.set_policy(peer_policy=Policy.DROP)
    shell.run("1")
    assert switch._radios["peer_policy"].value == int(Policy.DROP) and switch.stale


def test_knob_of_a_detached_program_says_that_it_did_not_run():
    with nk.Lab() as lab:
        db = lab.pod("db", device="netkit")
        packet = nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53) / b"hi"
        att = db.pair.attach(nk.compile(KNOB)["knob"], at="peer")
        knob = nk.VerdictKnob(att, send=lambda: db.send(packet))
        knob.set(2)
        assert "the program returns DROP (2)" in knob.words() and "did not run" not in knob.status()
        att.detach()
        knob.again()
        for said in (knob.words(), knob.status()):
            assert "the map says" in said and "not attached: the program did not run" in said


def test_controls_say_which_keys_choose_and_can_send_again(knob):
    _, line = knob.panel().children
    again, keys = line.children
    knob.map[0] = 7
    again.click()
    assert knob.result.code == 7 and "Tab" in keys.value and "Space" in keys.value


def test_knob_labels_every_choice_with_letter_and_word(knob):
    labels = [label for label, _ in knob.widget().options]
    assert labels == ["N NEXT (-1)", "P PASS (0)", "D DROP (2)", "R REDIRECT (7)", "? unknown 3"]
    assert knob.widget().description and knob.widget().tooltip


def test_knob_shows_a_refusal_instead_of_raising():
    def send():
        raise KernelError("ENODEV")

    knob = nk.VerdictKnob({0: 0}, send=send)
    knob.set(2)
    assert "ENODEV" in knob.bundle()["text/html"] and "ENODEV" in knob.bundle()["text/plain"]


def test_slip_in_the_learners_own_function_is_shown_where_the_control_is():
    sent = []

    def send():
        if sent:
            raise NameError("name 'pakcet' is not defined")
        return sent.append(1) or samples.veth()

    knob = nk.VerdictKnob({0: 0}, send=send)
    knob.widget().value = 2
    assert "NameError" in knob.bundle()["text/html"] and "pakcet" in knob.bundle()["text/plain"]
    view = PredictionView(nk.predict("?", ["a", "b"], lambda: 1 / 0))
    view.choices.value = "a"
    view.commit()
    assert "ZeroDivisionError" in view.html()


def test_slip_in_the_first_send_raises_as_any_cell_does():
    with pytest.raises(ZeroDivisionError):
        nk.VerdictKnob({0: 0}, send=lambda: 1 / 0)


def test_knob_without_a_map_says_what_there_is():
    program = nk.compile(KNOB)["knob"]
    with pytest.raises(UsageError, match="it has: verdict"):
        nk.VerdictKnob(program, map="colour")
    with pytest.raises(UsageError, match="give an attachment"):
        nk.VerdictKnob(3)


def test_knob_leaves_a_static_form_in_the_notebook(shell, knob):
    knob._ipython_display_()
    widget, static = shell.shown
    assert "application/vnd.jupyter.widget-view+json" in widget and "the program returns PASS" in widget["text/plain"]
    assert "PASS" in static["text/html"] and "<svg" in static["text/html"] and "PASS" in static["text/plain"]


def pair(refuse: bool = False):
    """Something that answers like a netkit pair whose kernel may refuse."""

    def end(name):
        return SimpleNamespace(node=SimpleNamespace(name=name))

    p = SimpleNamespace(primary=end("host"), peer=end("db"), policy=Policy.PASS, peer_policy=Policy.PASS)

    def set_policy(**which):
        if refuse:
            raise KernelError("EACCES")
        for name, value in which.items():
            setattr(p, name, Policy(value))

    p.set_policy = set_policy
    return p


def test_switch_sets_the_policy_of_one_direction_and_sends_again():
    p, sent = pair(), []
    switch = nk.PolicySwitch(p, send=lambda: sent.append(p.peer_policy) or samples.netkit(("d", 2)))
    switch.widget()
    switch._radios["peer_policy"].value = int(Policy.DROP)
    assert (p.policy, p.peer_policy) == (Policy.PASS, Policy.DROP)
    assert sent == [Policy.PASS, Policy.DROP] and switch.result.fate.kind is FateKind.DROPPED
    assert "db → host: peer_policy DROP" in switch.words() and "host → db: policy PASS" in switch.words()


def test_refused_switch_goes_back_and_says_why():
    switch = nk.PolicySwitch(pair(refuse=True), send=samples.veth)
    switch.widget()
    switch._radios["policy"].value = int(Policy.DROP)
    assert switch._radios["policy"].value == int(Policy.PASS)


def test_switch_labels_both_directions():
    switch = nk.PolicySwitch(pair(), send=samples.veth)
    switch.widget()
    assert [r.description for r in switch._radios.values()] == ["host → db (policy):", "db → host (peer_policy):"]


def prediction(happens="drop", explanation=None):
    options = {"pass": "", "drop": "An unknown code drops."} if explanation else ["pass", "drop"]
    return nk.predict("What happens?", options, lambda: (happens, samples.netkit(("d", 3))))


def test_prediction_runs_only_after_the_commitment():
    runs = []
    p = nk.predict("What happens?", ["pass", "drop"], lambda: runs.append(1) or "drop")
    view = PredictionView(p)
    assert view.button.disabled
    view.choices.value = "drop"
    assert not view.button.disabled and not runs
    view.commit()
    assert runs == [1] and view.choices.disabled
    view.commit()
    assert runs == [1]


def test_button_keeps_the_focus_after_the_commitment():
    """A browser takes the focus from a disabled button, so its words say that the choice stands."""
    view = PredictionView(prediction())
    view.choices.value = "drop"
    view.commit()
    assert not view.button.disabled and view.button.description == "Committed"


def test_words_of_code_in_a_question_are_code_and_never_markup():
    view = PredictionView(nk.predict("Is `a<b`?", ["`<i>`", "no"], lambda: "`<i>`"))
    assert "<code>a&lt;b</code>" in view.question() and "`" not in view.question() + view.choices.tooltip
    assert [label for label, _ in view.choices.options] == ["<i>", "no"]
    view.choices.value = "`<i>`"
    view.commit()
    assert "It happened: <code>&lt;i&gt;</code>" in view.html()


def test_prediction_shows_what_happened_and_the_picture():
    view = PredictionView(prediction(explanation=True))
    view.choices.value = "drop"
    view.commit()
    html = view.html()
    assert "Right" in html and "It happened: drop" in html and "An unknown code drops." in html and "<svg" in html
    assert 'role="status"' in html and "udp_sendmsg" in view.bundle()["text/plain"]


def test_wrong_prediction_names_both_answers():
    view = PredictionView(prediction())
    view.choices.value = "pass"
    view.commit()
    assert "You predicted: pass" in view.html() and "It happened: drop" in view.html()


def test_prediction_whose_run_fails_shows_the_error():
    view = PredictionView(prediction(happens="neither"))
    view.choices.value = "pass"
    view.commit()
    assert "neither" in view.html() and 'role="alert"' in view.html()


def test_prediction_stands_without_a_widget(shell):
    show_prediction(prediction())
    static, widget, outcome = shell.shown
    assert "What happens?" in static["text/html"] and "pass · drop" in static["text/html"]
    assert "options: pass, drop" == widget["text/plain"]
    assert outcome["text/html"] == ""


def test_outcome_stands_below_the_controls(shell):
    view = show_prediction(prediction())
    shell.shown.clear()
    view.choices.value = "drop"
    view.commit()
    (outcome,) = shell.shown
    assert "It happened: drop" in outcome["text/html"] and "What happens?" not in outcome["text/html"]


def test_prediction_as_the_last_line_of_a_cell_is_shown_as_buttons(shell):
    shell.run("import netkit_edu as nk\nnk.predict('Why?', ['a', 'b'], lambda: 'a')")
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shell.shown)


def test_stepper_walks_through_every_state():
    s = nk.stepper(nk.compile(KNOB)["knob"], samples.UDP)
    s.widget()
    frames = []
    for step in range(1, len(s.states) + 1):
        s.slider.value = step
        frames.append(s.frame())
    assert len(set(frames)) == len(s.states) == s.slider.max
    assert "returned 0" in frames[-1] and "▶" in frames[0] and "bpf_map_lookup_elem" in frames[0]


def test_stepper_marks_the_current_line_and_the_registers_changed():
    s = nk.stepper(nk.compile(KNOB)["knob"], samples.UDP)
    s.widget()
    s.slider.value = 2
    state = s.states[1]
    marked = [part for part in s.frame().split('<span class="on">')[1:2]]
    assert f"{state.line.line:>4} " in marked[0]
    assert s.frame().count("class='on'") == len(state.changed)


def test_stepper_has_a_static_table_and_plain_text(shell):
    s = nk.stepper(nk.compile(KNOB)["knob"], samples.UDP)
    s._ipython_display_()
    widget, static = shell.shown
    assert static["text/html"].count("<tr") == len(s.states) + 1
    assert static["text/plain"].count("\n") == len(s.states) and "returned 0" in widget["text/plain"]


def test_stepper_shows_where_a_fault_stopped_the_run():
    text = '#include "netkit_edu.h"\nSEC("tc") int f(struct __sk_buff *skb) { return *(int *)(long)skb->mark; }\n'
    s = nk.stepper(nk.compile(text)["f"], samples.UDP)
    assert s.fault is not None and "stopped by a fault" in s.words() and 'role="alert"' in s.html()
    s.widget()
    s.slider.value = len(s.states)
    assert 'role="alert"' not in s.frame() and "see below" in s.frame()


def test_stepper_shows_the_line_that_faulted_though_it_never_ran():
    text = (
        '#include "netkit_edu.h"\nSEC("tc") int f(struct __sk_buff *skb)\n{\n\tint *p = (int *)(long)skb->mark;\n\n\n\n'
        "\treturn *p;\n}\n"
    )
    s = nk.stepper(nk.compile(text)["f"], samples.UDP)
    assert s.fault.source.text.strip() == "return *p;"
    assert "return *p;" in s.frame().partition('role="alert"')[0]


def test_stepper_takes_a_program_only_with_a_packet():
    with pytest.raises(UsageError, match="nk.stepper"):
        nk.stepper(nk.compile(KNOB)["knob"])
    with pytest.raises(UsageError):
        nk.stepper(5)
