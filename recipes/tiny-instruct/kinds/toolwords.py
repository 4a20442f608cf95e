"""Words of the tool tasks: what tools do to what, their arguments, and how a request says each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kinds.names import CITIES, COLOURS, DAYS, LANGUAGES, PEOPLE, ROOMS, code, title
from kinds.shapes import Lists, Maker, phrases, words


@dataclass(frozen=True)
class Slot:
    """An argument: its names, its JSON type, its values, and how a request says it without its name, if that can be."""

    names: Lists
    type: str
    value: Callable[[Maker], Any]
    ways: Lists | None = None


@dataclass(frozen=True)
class Group:
    """Actions that fit things. `distinct`: two actions on one thing are two different wishes ("paint" and "sell")."""

    verbs: Lists
    nouns: Lists
    slots: tuple[str, ...]
    article: str = "a"
    distinct: bool = True


def whole(low: int, high: int) -> Callable[[Maker], int]:
    return lambda make: make.rng.randint(low, high)


def one_of(values: Any) -> Callable[[Maker], Any]:
    return lambda make: make.pick(values)


OPTIONS = (words("small medium large tiny huge | giant narrow wide"), words("slow fast normal | swift steady gentle"),
           words("low middle high | upper lower central"), words("cheap plain fine | deluxe basic premium"),
           words("round square flat | oval curved hollow"), words("daily weekly monthly | hourly yearly nightly"))  # fmt: skip

SLOTS = {
    "place": Slot(words("city town place location area | county region destination"), "string", one_of(CITIES), phrases("""
        in {v}
        near {v}
        --
        around {v}
        close to {v}
        """)),
    "person": Slot(words("name person user customer friend child | guest member owner"), "string", one_of(PEOPLE), phrases("""
        for {v}
        with {v}
        --
        on behalf of {v}
        together with {v}
        """)),
    "reader": Slot(words("recipient receiver to contact | addressee reader"), "string", one_of(PEOPLE), phrases("""
        to {v}
        for {v}
        --
        addressed to {v}
        that reaches {v}
        """)),
    "day": Slot(words("day date weekday when | deadline appointment"), "string", one_of(DAYS), phrases("""
        on {v}
        next {v}
        --
        this coming {v}
        before {v} ends
        """)),
    "hour": Slot(words("hour time clock | moment arrival"), "integer", whole(1, 12), phrases("""
        at {v} o'clock
        at {v}
        --
        when it strikes {v}
        not before {v} o'clock
        """)),
    "count": Slot(words("count number amount times | quantity total"), "integer", whole(2, 40), phrases("""
        {v} times
        --
        {v} times in a row
        """)),
    "minutes": Slot(words("minutes duration length | period timeout"), "integer", whole(2, 90), phrases("""
        for {v} minutes
        in {v} minutes
        --
        lasting {v} minutes
        over the next {v} minutes
        """)),
    "level": Slot(words("level power speed volume | strength intensity"), "integer", whole(1, 100), None),
    "price": Slot(words("price cost budget max_price | fee limit"), "integer", whole(3, 900), phrases("""
        for {v} dollars
        under {v} dollars
        --
        costing {v} dollars at most
        with {v} dollars to spend
        """)),
    "colour": Slot(words("colour color paint_colour | shade tint"), "string", one_of(COLOURS), phrases("""
        in {v}
        --
        all in {v}
        """)),
    "language": Slot(words("language lang | speech dialect"), "string", one_of(LANGUAGES), phrases("""
        in {v}
        --
        worded in {v}
        """)),
    "room": Slot(words("room place floor | chamber corner"), "string", one_of(ROOMS), phrases("""
        in the {v}
        --
        over in the {v}
        """)),
    "title": Slot(words("title name label topic | heading caption"), "string", title, phrases("""
        called "{v}"
        named "{v}"
        --
        that bears the name "{v}"
        known as "{v}"
        """)),
    "code": Slot(words("code id key item_number | serial reference"), "string", code, phrases("""
        {v}
        with the code {v}
        --
        marked {v}
        """)),
    "flag": Slot(words("quiet urgent public loud fast fresh private free shared | silent secret visible careful"), "boolean",
                 lambda make: make.chance(0.6)),
    "option": Slot(words("size type mode quality style kind | grade format class"), "option", one_of(OPTIONS)),
}  # fmt: skip

GROUPS = (
    Group(words("paint repair clean wash sell wrap lift weigh draw move hide measure | polish carry trade decorate bury"
                " borrow"),
          words("lamp chair table boat bike clock kite drum basket wagon piano bench toy doll robot sofa mirror bell ladder"
                " vase statue hat coat carpet fence shelf | barrel saddle violin lantern cupboard bucket hammock trumpet"
                " canoe sledge parasol cradle"),
          ("place", "person", "day", "colour", "option", "price", "code", "flag")),
    Group(words("get find show look_up fetch check | read retrieve compute supply tell"),
          words("weather temperature price population height distance timetable menu address news traffic tide wind map"
                " history age area schedule score speed weight | altitude humidity forecast postcode currency capacity"
                " sunrise pollen latitude voltage"),
          ("place", "day", "hour", "language", "code", "title"), "the", distinct=False),
    Group(words("book cancel plan confirm change extend | reserve postpone arrange prolong"),
          words("table room ticket lesson tour flight taxi meeting party visit trip seat dinner train hotel game concert"
                " holiday | cabin ferry banquet interview carriage picnic wedding checkup audition"),
          ("place", "day", "hour", "count", "person", "price", "flag")),
    Group(words("send write print translate delete sign | forward archive compose encrypt recite"),
          words("letter note card message email postcard invitation report photo poem story answer question | telegram memo"
                " leaflet greeting petition diary anthem brochure"),
          ("reader", "language", "title", "day", "flag", "count")),
    Group(words("start stop reset turn_on turn_off switch_on switch_off test | activate unplug rotate inspect"),
          words("heater fan oven pump radio printer washer alarm camera sprinkler elevator engine light computer fridge"
                " robot lamp | boiler freezer antenna dryer mixer blender projector toaster scanner"),
          ("room", "level", "minutes", "hour", "flag", "option"), "the"),
    Group(words("open close lock unlock | shut seal bolt"),
          words("gate window door box drawer safe garage cage cellar roof | shutter hatch lid vault chest greenhouse locker"),
          ("room", "code", "minutes", "hour", "flag"), "the"),
    Group(words("add remove rename update copy save | insert erase duplicate approve"),
          words("contact task recipe file account student player word event folder order page list user reminder | invoice"
                " bookmark patient voucher chapter receipt ledger tenant coupon"),
          ("title", "code", "count", "day", "flag", "person")),
    Group(words("play pause record rate download skip | stream review rewind loop"),
          words("song film podcast video game album show tape record audio_book | melody cartoon playlist opera ballad"
                " documentary lecture sonata"),
          ("title", "person", "level", "minutes", "flag", "room")),
    Group(words("feed walk brush train find visit call photograph | groom adopt tame vaccinate"),
          words("dog cat horse rabbit duck goat hamster parrot sheep pony cow pig mouse owl | donkey turtle ferret peacock"
                " llama swan otter pigeon"),
          ("count", "hour", "place", "day", "person")),
    Group(words("cook bake order cut cool serve heat taste | fry deliver slice chill"),
          words("pizza soup cake bread pie salad pasta pancake fish stew burger sandwich cookie | omelette muffin waffle"
                " curry risotto lasagna porridge dumpling"),
          ("count", "option", "person", "minutes", "flag", "room", "price")),
)  # fmt: skip
# Verbs of which a request for one might mean the other, done to the same thing.
SYNONYMS = (
    {"start", "turn on", "switch on", "activate"}, {"stop", "turn off", "switch off", "unplug"}, {"clean", "wash", "polish"},
    {"copy", "save", "duplicate"}, {"remove", "erase"}, {"change", "extend", "update", "rename", "prolong", "postpone"},
    {"cook", "heat", "bake", "fry"}, {"add", "insert"}, {"book", "plan", "confirm", "reserve", "arrange"}, {"cut", "slice"},
    {"order", "serve", "deliver"}, {"find", "call", "visit"}, {"write", "compose"}, {"move", "lift", "carry"}, {"train", "tame"},
    {"test", "inspect"}, {"sell", "trade"}, {"paint", "decorate", "draw"}, {"play", "stream"}, {"close", "lock"},
    {"shut", "seal", "bolt"}, {"hide", "bury"}, {"cool", "chill"}, {"weigh", "measure"},
)  # fmt: skip
MODIFIERS = words(
    "garden kitchen school office city summer winter family old new small big night morning green blue wooden toy beach"
    " village | harbour royal rusty lucky festive spare copper antique purple velvet"
)

LEADS = phrases("""
    {do}.
    {do}
    Please {do}.
    {do}, please.
    Can you {do}?
    Could you {do}?
    I want to {do}.
    I need to {do}.
    I would like to {do}.
    Help me to {do}.
    I want you to {do}.
    We have to {do}.
    Hello! Please {do}.
    Now {do}.
    You should {do}.
    Will you {do}?
    Try to {do}.
    {do} for me.
    {do} right away.
    Do this: {do}.
    My task for you: {do}.
    The plan is to {do}.
    Someone must {do}.
    Is it possible to {do}?
    --
    Would you be so kind and {do}?
    It is time to {do}.
    Kindly {do} now.
    My wish is to {do}.
    See that you {do}.
    Let us {do}.
    Somebody should {do}.
    """)
QUESTIONS = phrases("""
    What is {do}?
    Tell me {do}.
    Do you know {do}?
    Give me {do}.
    I want to know {do}.
    Can you tell me {do}?
    --
    I wonder about {do}.
    How about {do}?
    """)
DESCRIPTIONS = phrases("""
    {verb} {thing}
    {verb} {thing}.
    {verbs} {thing}.
    Use this to {verb} {thing}.
    {verb} {thing} and return the result.
    --
    Lets you {verb} {thing}.
    A way to {verb} {thing}.
    Here one can {verb} {thing}.
    """)
NAMED = phrases("""
    with {name} {v}
    with the {name} {v}
    {name} {v}
    {name}: {v}
    {name} = {v}
    and set {name} to {v}
    with {v} as the {name}
    and take {v} as {name}
    and its {name} should be {v}
    [{name}={v}]
    --
    where the {name} is {v}
    using {v} for the {name}
    and let {name} be {v}
    ({name}: {v})
    """)
YES = phrases("""
    and make it {name}
    with {name} on
    {name}: yes
    and {name} is true
    and keep it {name}
    and it must be {name}
    --
    and be sure that it is {name}
    ({name}: true)
    """)
NO = phrases("""
    but not {name}
    with {name} off
    {name}: no
    and {name} is false
    and never {name}
    but it must not be {name}
    --
    but do not let it be {name}
    ({name}: false)
    """)
NAME_STYLES = ("{v}_{n}", "{v}_{n}", "{v}_{n}", "camel", "camel", "{n}_{v}", "Pascal", "{v}-{n}", "{v}_the_{n}", "{v}{n}")
AFFIXES = words("{}_value target_{} new_{} {}_param | {}_input given_{} {}_field")
STATES = ("open", "closed", "ready", "late", "full", "free", "busy", "new", "lost", "on the way")
FAULTS = ("no free place", "not found", "no power", "wrong name", "too late", "not allowed")
NUMBERS = ("price", "number", "level", "total", "count", "result", "size", "value")
NO_TOOL = "I have no tool for that."
