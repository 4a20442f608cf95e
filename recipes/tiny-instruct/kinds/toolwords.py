"""Words of the tool tasks: what tools do to what, their arguments, and how a request says each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kinds.names import COLOURS, DAYS, LANGUAGES, ROOMS, city, code, one_of, person, title
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


OPTIONS = (words("small medium large tiny huge | giant narrow wide"), words("slow fast normal | swift steady gentle"),
           words("low middle high | upper lower central"), words("cheap plain fine | deluxe basic premium"),
           words("round square flat | oval curved hollow"), words("daily weekly monthly | hourly yearly nightly"))  # fmt: skip

SLOTS = {
    "place": Slot(words("city town place location area | county region destination"), "string", city, phrases("""
        in {v}
        near {v}
        at {v}
        from {v}
        somewhere in {v}
        outside {v}
        by {v}
        --
        around {v}
        close to {v}
        """)),
    "person": Slot(words("name person user customer friend child | guest member owner"), "string", person, phrases("""
        for {v}
        with {v}
        from {v}
        of {v}
        as {v} asked
        because of {v}
        here with {v}
        --
        on behalf of {v}
        together with {v}
        """)),
    "reader": Slot(words("recipient receiver to contact | addressee reader"), "string", person, phrases("""
        to {v}
        for {v}
        and give it to {v}
        going to {v}
        meant for {v}
        so that {v} has it
        --
        addressed to {v}
        that reaches {v}
        """)),
    "day": Slot(words("day date weekday when | deadline appointment"), "string", lambda make: make.pick(DAYS), phrases("""
        on {v}
        next {v}
        this {v}
        by {v}
        from {v} on
        for {v}
        every {v}
        when it is {v}
        --
        this coming {v}
        before {v} ends
        """)),
    "hour": Slot(words("hour time clock | moment arrival"), "integer", whole(1, 12), phrases("""
        at {v} o'clock
        at {v}
        by {v} o'clock
        around {v} o'clock
        from {v} o'clock on
        when the clock says {v}
        at {v} sharp
        --
        when it strikes {v}
        not before {v} o'clock
        """)),
    "count": Slot(words("count number amount times | quantity total"), "integer", whole(2, 40), phrases("""
        {v} times
        {v} of them
        {v} times over
        exactly {v} times
        at least {v} times
        --
        {v} times in a row
        """)),
    "minutes": Slot(words("minutes duration length | period timeout"), "integer", whole(2, 90), phrases("""
        for {v} minutes
        in {v} minutes
        during {v} minutes
        for the next {v} minutes
        within {v} minutes
        after {v} minutes
        {v} minutes long
        --
        lasting {v} minutes
        over the next {v} minutes
        """)),
    "level": Slot(words("level power speed volume | strength intensity"), "integer", whole(1, 100), None),
    "price": Slot(words("price cost budget max_price | fee limit"), "integer", whole(3, 900), phrases("""
        for {v} dollars
        under {v} dollars
        at {v} dollars
        for less than {v} dollars
        up to {v} dollars
        that costs {v} dollars
        paying {v} dollars
        --
        costing {v} dollars at most
        with {v} dollars to spend
        """)),
    "colour": Slot(words("colour color paint_colour | shade tint"), "string", one_of(COLOURS), phrases("""
        in {v}
        with {v} colour
        using {v}
        in bright {v}
        with {v} paint
        --
        all in {v}
        """)),
    "language": Slot(words("language lang | speech dialect"), "string", one_of(LANGUAGES), phrases("""
        in {v}
        using {v}
        in good {v}
        into {v}
        written in {v}
        --
        worded in {v}
        """)),
    "room": Slot(words("room place floor | chamber corner"), "string", one_of(ROOMS), phrases("""
        in the {v}
        inside the {v}
        from the {v}
        of the {v}
        down in the {v}
        --
        over in the {v}
        """)),
    "title": Slot(words("title name label topic | heading caption"), "string", title, phrases("""
        called "{v}"
        named "{v}"
        with the name "{v}"
        titled "{v}"
        that we call "{v}"
        "{v}"
        --
        that bears the name "{v}"
        known as "{v}"
        """)),
    "code": Slot(words("code id key item_number | serial reference"), "string", code, phrases("""
        {v}
        with the code {v}
        number {v}
        with number {v}
        of code {v}
        that has {v} on it
        --
        marked {v}
        """)),
    "flag": Slot(words("quiet urgent public loud fast fresh private free shared | silent secret visible careful"), "boolean",
                 lambda make: make.chance(0.6)),
    "option": Slot(words("size type mode quality style kind | grade format class"), "option", one_of(OPTIONS[0])),
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
    {do} right away.
    Do this: {do}.
    My task for you: {do}.
    The plan is to {do}.
    Someone must {do}.
    Is it possible to {do}?
    Go and {do}.
    Go ahead and {do}.
    Just {do}.
    {do} now.
    {do} if you can.
    {do}, thank you.
    Okay, {do}.
    So {do}.
    Well, {do}.
    Hey, {do}.
    Please would you {do}?
    May I ask you to {do}?
    I ask you to {do}.
    I hope you can {do}.
    I wish to {do}.
    We want to {do}.
    They asked me to {do}.
    She told us to {do}.
    It would be good to {do}.
    It is your job to {do}.
    You have to {do}.
    You may {do}.
    Shall we {do}?
    Why not {do}?
    What if you {do}?
    How do I {do}?
    Who can {do}?
    Are you able to {do}?
    Make sure to {do}.
    Remember to {do}.
    Do not forget to {do}.
    Be a friend and {do}.
    The next thing is to {do}.
    First of all, {do}.
    One more thing: {do}.
    Your turn: {do}.
    Request: {do}.
    Task: {do}
    My boss wants me to {do}.
    Perhaps you could {do}.
    I am trying to {do}.
    It is important to {do}.
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
    What about {do}?
    Show me {do}.
    Let me have {do}.
    I need {do}.
    I ask for {do}.
    Could I have {do}?
    Please tell us {do}.
    What can you say of {do}?
    Say {do}.
    {do}?
    {do}, please.
    Any news of {do}?
    We must learn {do}.
    Can I see {do}?
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
    Call it to {verb} {thing}.
    This tool {verbs} {thing}.
    To {verb} {thing}
    Can {verb} {thing}.
    For those who want to {verb} {thing}.
    Function that {verbs} {thing}.
    Will {verb} {thing} for the user.
    It {verbs} {thing} when asked.
    Needed to {verb} {thing}.
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
    with {name} at {v}
    at {name} {v}
    and {name} {v}
    by {name} {v}
    of {name} {v}
    for {name} {v}
    on {name} {v}
    {name} is {v}
    with {name} set to {v}
    and give {v} for {name}
    and put {v} in {name}
    having {name} {v}
    and the {name} is {v}
    taking {v} for {name}
    with {v} for {name}
    while {name} stays {v}
    <{name}: {v}>
    {name} -> {v}
    {name}="{v}"
    when {name} equals {v}
    since the {name} was {v}
    and choose {v} as its {name}
    and I want {name} to be {v}
    if {name} is {v}
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
    and {name}
    and as {name} as can be
    with {name} yes
    {name} = true
    and set {name} to true
    and it has to be {name}
    [{name}=true]
    and I want it {name}
    and yes, {name}
    and see to it that it stays {name}
    {name}: on
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
    and not {name}
    with {name} no
    {name} = false
    and set {name} to false
    and it may not be {name}
    [{name}=false]
    and I do not want it {name}
    and no, not {name}
    without being {name}
    {name}: off
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
