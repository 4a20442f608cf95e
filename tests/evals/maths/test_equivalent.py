"""Which answers are the same: pairs judged by hand, gold-like answers in other clothes, and what no pair of them may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.evals.maths.equivalent import equivalent

SAME = [
    # numbers
    ("5", "5."), ("5", "5.0"), ("-3", "−3"), ("+7", "7"), ("1,000", "1000"), ("10,\\!000", "10000"), ("10{,}000", "10 000"),
    ("10\\,000", "10000"), ("1,234,567", "1234567"), ("11,\\! 111,\\! 111,\\! 100", "11111111100"), (".5", "0.5"), ("3 \\times 10^8", "300000000"),
    ("3.0\\cdot10^{-2}", "0.03"), ("2e3", "2000"), ("0.\\overline{3}", "\\frac13"), ("0.1\\overline{6}", "1/6"), ("2^{10}", "1024"),
    ("5!", "120"), ("\\binom{5}{2}", "10"), ("\\lfloor 3.7 \\rfloor", "3"), ("|-4|", "4"), ("\\text{13}", "13"),
    # fractions
    ("\\frac12", "\\frac{1}{2}"), ("\\dfrac{1}{2}", "1/2"), ("\\tfrac 12", "0.5"), ("\\frac1{72}", "1/72"), ("\\frac 9{20}", ".45"),
    ("\\frac{2}{4}", "\\frac{1}{2}"), ("-\\frac{3}{4}", "\\frac{-3}{4}"), ("\\frac{3}{-4}", "-0.75"), ("\\frac{270}7\\text{ degrees}", "\\frac{270}{7}"),
    ("\\frac{\\sqrt6}3", "\\frac{\\sqrt{6}}{3}"), ("½", "0.5"), ("\\frac{12}{5,\\!525}", "\\frac{12}{5525}"), ("\\frac{1}{2004!}", "1/2004!"),
    # mixed numbers
    ("3\\frac{3}{8}", "\\frac{27}{8}"), ("11 \\frac{2}{3}", "35/3"), ("3 1/2", "3.5"), ("6\\frac15", "6.2"), ("-1\\frac{1}{2}", "-1.5"),
    # roots, pi, trigonometry
    ("2\\sqrt3", "2\\sqrt{3}"), ("\\frac{1}{\\sqrt{3}}", "\\frac{\\sqrt{3}}{3}"), ("\\sqrt{12}", "2\\sqrt{3}"), ("\\sqrt[3]{-8}", "-2"),
    ("√2", "\\sqrt{2}"), ("√(2)", "sqrt(2)"), ("3\\pi", "3π"), ("3pi", "\\pi \\cdot 3"), ("\\frac{4}{3}\\pi", "\\frac{4\\pi}{3}"),
    ("\\sin 30^\\circ", "\\frac12"), ("2\\cos 15^{\\circ}", "\\frac{\\sqrt6+\\sqrt2}{2}"), ("\\log_2 8", "3"), ("e^2", "e \\cdot e"), ("\\sin^2 x", "(\\sin x)^2"),
    ("2^{1/2}", "\\sqrt{2}"), ("72\\pi\\sqrt{3}", "72\\sqrt{3}\\pi"),
    # units, degrees, percent, money
    ("440\\text{ cm}^2", "440"), ("15\\mbox{ cm}^2", "15 cm^2"), ("45 \\text{ units}^2", "45"), ("18\\text{ hours}", "18 hours"), ("45^\\circ", "45"),
    ("118^{\\circ}", "118 degrees"), ("90°", "90"), ("50\\%", "50"), ("7.2\\%", "7.2 percent"), ("\\$18.90", "18.9"), ("\\$32,\\!348", "$32,348"),
    ("-\\$0.50", "-0.5"), ("5.4 \\text{ cents}", "5.4"), ("8\\sqrt{3} \\text { square inches}", "8\\sqrt{3}"), ("65 \\text{ children tickets }", "65"),
    ("\\frac{3}{4}\\pi\\text{ inches}", "0.75\\pi"), ("45\\text{ mph}", "45 mph"), ("90\\text{ square\nunits}", "90"), ("12\\,\\mathrm{km}", "12"),
    ("9\\text{ a.m.}", "9"), ("25 \\, \\text{km/h}", "25"), ("10\\text{ meters per second}", "10"),
    # algebra
    ("x^2+2x+1", "(x+1)^2"), ("2x(15x^2-4x+10)", "30x^3-8x^2+20x"), ("\\frac{x+2}{7}", "(x+2)/7"), ("7z^{96}(4z+1)", "28z^{97}+7z^{96}"),
    ("36x \\sqrt{35x}", "36\\sqrt{35}x^{3/2}"), ("a+5b", "5b+a"), ("x_1+x_{2}", "x_2+x_1"), ("x^10", "x^{10}"), ("3-2f(x)", "-2f(x)+3"), ("\\sin 3x", "\\sin(3x)"),
    ("\\frac1{2x}", "\\frac{1}{2}x^{-1}"), ("1+2i", "2i+1"), ("i", "\\sqrt{-1}"), ("\\frac{7}{5}+\\frac{1}{5}i.", "\\frac{7+i}{5}"), ("2^{2005}", "2\\cdot2^{2004}"),
    # lists, sets, plus-minus
    ("1,2", "2, 1"), ("\\{1,2\\}", "1, 2"), ("\\{1, 2\\}", "\\{2,1\\}"), ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}"), ("\\pm 2", "-2,2"),
    ("12\\text{ and }13", "13, 12"), ("7, -2, \\text{ and } -5", "-5,-2,7"), ("\\{1\\pm\\sqrt{5},-2\\}", "-2,1+\\sqrt5,1-\\sqrt5"), ("3, 5, or 7", "3,5,7"),
    ("x=2,x=3", "2,3"), ("x = 2 \\text{ or } x = 3", "3, 2"), ("\\{5\\}", "5"), ("100, 200, 300", "300, 200, 100"), ("4^\\circ, 20^\\circ", "20, 4"),
    # tuples, intervals, unions, inequalities
    ("(1,2)", "( 1 , 2 )"), ("\\left( -\\frac14, -2 \\right)", "(-0.25,-2)"), ("(3,\\frac{\\pi}{2})", "(3, \\pi/2)"), ("[0,\\infty)", "\\left[0, \\infty\\right)"),
    ("(-\\infty,0]\\cup[4,\\infty)", "[4,\\infty)\\cup(-\\infty,0]"), ("x\\in[-2,7]", "[-2,7]"), ("-2\\le x\\le7", "[-2,7]"), ("x>3", "(3,\\infty)"), ("3 < x", "x > 3"),
    ("x \\leq 4", "(-\\infty, 4]"), ("7 \\ge x > 2", "(2,7]"), ("f(2) < f(1) < f(4)", "f(4) > f(1) > f(2)"), ("(0,9) U (9,36)", "(0,9) \\cup (9,36)"),
    # equations
    ("x=5", "5"), ("x = 5", "5"), ("x=\\frac{10}{4}=2.5", "2.5"), ("y = 2x+3", "2x+3"), ("y = 2x + 3", "y-2x=3"), ("f(x) = x^2", "x^2"), ("k = 15", "15"),
    ("10x-4y-5z-20=0", "-20x+8y+10z+40=0"), ("x^2+y^2=13", "13 = x^2+y^2"), ("\\frac{x^2}{16}-\\frac{y^2}{9}=1", "9x^2-16y^2=144"),
    # matrices, ratios, bases
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}"), ("\\begin{pmatrix} 1/5 & 4/5 \\\\ 0 & 1 \\end{pmatrix}",
     "\\left(\\begin{array}{cc} \\frac15 & 0.8 \\\\ 0 & 1 \\end{array}\\right)"), ("1:2", "1 : 2"), ("3:1", "3 to 1"), ("1202_3", "1202_{3}"), ("1202_3", "1202_{\\text{three}}"),
    ("152A_{11}", "152a_{11}"), ("-221_3", "-221_{3}"), ("0.0011_{2}", "0.0011_2"),
    # words
    ("\\text{Tuesday}", "tuesday"), ("\\text{(A)}", "A"), ("(\\text{E})", "E"), ("(B)", "\\text{B}"), ("\\text{odd}", "odd"), ("\\text{4:30 p.m.}", "4:30 pm"),
    ("\\mbox{Saturday}", "\\text{Saturday}"), ("\\text{A,C,F}", "A, C, F"), ("\\text{B, E, G}", "B,E,G"), ("\\text{the ellipse}", "ellipse"), ("\\text{June 20}", "June 20"),
    ("\\overline{CD}", "\\overline{CD}"), ("**east**", "\\text{east}"), ("{12}", "12"),
]  # fmt: skip

DIFFERENT = [
    ("5", "6"), ("5", "-5"), ("1/3", "0.33"), ("1/3", "0.333333333333"), ("\\frac12", "\\frac13"), ("50\\%", "0.5"), ("2\\sqrt3", "3\\sqrt2"), ("\\pi", "3.14159265358979"),
    ("2^{2005}", "2^{2005}+1"), ("\\frac{1}{2004!}", "\\frac{1}{2005!}"), ("10000_2", "16"), ("204_5", "204"), ("204_5", "204_6"), ("3\\frac38", "\\frac98"), ("18", "18,000"),
    ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), ("(1,2]", "(1,2)"), ("(1,2)", "1,2"), ("1,2", "1,2,3"), ("1,2", "1,1"), ("\\{1,2\\}", "\\{1,3\\}"), ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}"),
    ("(-\\infty,0]\\cup[4,\\infty)", "(-\\infty,0]"), ("[0,\\infty)", "(-\\infty,0]"), ("x>3", "x\\ge3"), ("x>3", "x<3"), ("x>3", "3"), ("f(2)<f(1)<f(4)", "f(1)<f(2)<f(4)"),
    ("x+1", "x-1"), ("x", "y"), ("x^2", "2x"), ("|x|", "x"), ("\\sqrt{x^2}", "x"), ("x^2+1", "x^2+1.0000000001"), ("2x+3", "2y+3"), ("y=2x", "y=-2x"), ("x+y=5", "x+y=6"),
    ("x+y=5", "5"), ("10x-4y=0", "10x-5y=0"), ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 & 2 \\end{pmatrix}"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}"), ("1:2", "2:1"), ("\\text{odd}", "\\text{even}"), ("A", "B"), ("\\text{(A)}", "\\text{(B)}"),
    ("\\text{Monday}", "\\text{Sunday}"), ("\\text{4:30 p.m.}", "\\text{4:30 a.m.}"), ("\\text{4:30 p.m.}", "\\text{4:03 p.m.}"), ("\\text{A,C,F}", "\\text{A,C}"), ("5x", "5"),
    ("5", "\\text{five apples}"), ("", ""), ("1/0", "1/0 + 1"), ("0", "\\emptyset"), ("\\infty", "-\\infty"), ("\\overline{CD}", "\\overline{AB}"), ("3i", "3"), ("2.5", "25"),
    ("9^{9^{9^{9}}}", "9^{9^{9^{8}}}"), ("12 \\text{ and } 13", "12.13"), ("x^{12}", "x^12 + 1"), ("\\frac{a}{b}", "\\frac{b}{a}"), ("45", "\\cos 45"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_same(first: str, second: str) -> None:
    assert equivalent(first, second)
    assert equivalent(second, first)


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_not_the_same(first: str, second: str) -> None:
    assert not equivalent(first, second)
    assert not equivalent(second, first)


def test_nothing_is_the_same_as_no_answer() -> None:
    assert not equivalent(None, None)
    assert not equivalent(None, "5")
    assert not equivalent("5", None)


def test_each_answer_is_the_same_as_itself_and_as_no_answer_of_another_pair() -> None:
    firsts = [first for first, _ in SAME]
    for number, (first, _) in enumerate(SAME):
        assert equivalent(first, f" {first} ")
        other = firsts[(number + 37) % len(firsts)]
        assert not equivalent(first, other), (first, other)


@given(st.fractions(max_denominator=10**6))
def test_a_fraction_in_all_its_clothes(number: object) -> None:
    over, under = number.numerator, number.denominator  # type: ignore[attr-defined]
    spellings = [f"{over}/{under}", rf"\frac{{{over}}}{{{under}}}", rf"\dfrac{{{3 * over}}}{{{3 * under}}}", rf"x = {over} \div {under}"]
    for spelling in spellings:
        assert equivalent(spelling, spellings[0])
        assert not equivalent(spelling, f"{over + 1}/{under}")


@given(st.text(max_size=60))
def test_whatever_stands_there_is_judged(text: str) -> None:
    assert equivalent(text, "5") == equivalent("5", text)
    assert equivalent(text, text) == bool(text.strip())


@given(st.text(alphabet="\\frac{}()[]^_+-*/x1.,|!$ sqrtpm", max_size=60))
def test_whatever_looks_like_mathematics_is_judged(text: str) -> None:
    assert equivalent(text, "5") == equivalent("5", text)


def test_deep_and_huge_answers_take_no_time_to_speak_of() -> None:
    for text in ("(" * 500 + "1" + ")" * 500, "9" + "!" * 50, "2^" * 90 + "2", r"\exp " * 60 + "9", "1" * 590, r"\sin 10^{9999999}"):
        assert not equivalent(text, "5")
