"""Simple facts and sums. The answer is bare ("12", "Tuesday"), or a sentence where one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kinds.names import ANIMALS, DAYS, FRUITS, JOBS, MONTHS, person
from kinds.shapes import Lists, Maker, Task, assistant, phrases, sentence_case, system, user, with_article, words
from kinds.vocabulary import asked

OPPOSITES = """big small, hot cold, up down, day night, happy sad, fast slow, open closed, wet dry, old young, hard soft,
 full empty, long short, light dark, good bad, high low, near far, rich poor, strong weak, loud quiet, clean dirty, early
 late, thick thin, black white, push pull, win lose, inside outside, brave afraid, awake asleep, heavy light, sweet sour, top
 bottom, left right, true false"""
PLURALS = words(
    "cat dog tree book car house apple star hand boat chair bird cow shoe door road cake lamp king queen girl boy ball"
    " flower box fox bus dish glass watch brush peach church wish baby city story lady berry pony party fly | lamp_post"
    " rocket pencil garden doctor bench wolfhound daisy cherry match coach puppy"
)
IRREGULAR = """child children, man men, woman women, mouse mice, foot feet, tooth teeth, goose geese, sheep sheep, fish
 fish, leaf leaves, wolf wolves, knife knives, person people"""
COLOUR_OF = """the sky blue, grass green, snow white, blood red, a banana yellow, a lemon yellow, coal black, a tomato red,
 the sun yellow, a leaf green, milk white, a strawberry red, a carrot orange, the sea blue, chocolate brown, a frog green, a
 pig pink, an elephant grey"""
SAYS = """dog woof, cat meow, cow moo, duck quack, sheep baa, pig oink, lion roar, bee buzz, snake hiss, owl hoot, hen
 cluck, horse neigh, mouse squeak, bird tweet, frog croak"""
YOUNG = """dog puppy, cat kitten, cow calf, horse foal, sheep lamb, duck duckling, hen chick, pig piglet, lion cub, bear
 cub, goat kid, frog tadpole, deer fawn, swan cygnet"""
LEGS = """dog four, cat four, bird two, duck two, bee six, spider eight, horse four, fish zero, snake zero, cow four, hen
 two, ant six, lion four, worm zero, fly six, frog four"""
HOMES = "bird nest, bee hive, dog kennel, spider web, horse stable, rabbit burrow, lion den, fish water, pig sty, king castle"
BY_SIZE = "ant bee mouse frog hen cat dog sheep pig lion cow horse bear giraffe elephant whale house mountain"
GROUPS = {
    "animal": " ".join(ANIMALS.train), "fruit": " ".join(FRUITS.train),
    "colour": "red blue green yellow black white brown pink", "number": "one two three four five six seven eight nine ten",
    "toy": "doll ball kite puzzle", "tool": "hammer saw spade drill", "day": " ".join(DAYS), "month": " ".join(MONTHS),
    "vehicle": "car bus train truck bike", "job": " ".join(JOBS.train),
}  # fmt: skip
SPELT = words(
    "cat dog sun hat fish bird tree book star moon ball cake milk frog duck rain snow ship lamp door king girl boat bear"
    " lion apple house mouse water happy green black white table chair bread train plant cloud river tiger snake horse queen"
    " grass light night stone smile story paper money music family garden friend animal | robot candy beach winter spoon"
    " tower pencil sugar brick"
)
SENTENCE = phrases("""
    Answer in a sentence.
    Use a whole sentence.
    Please answer in one sentence.
    Say it in a full sentence.
    A whole sentence, please.
    Reply with a sentence.
    In a sentence, please.
    I want a sentence as the answer.
    --
    Give me that as one complete sentence.
    I want to hear a proper sentence.
    """)
BARE = phrases("""
    Give short answers.
    Answer with as few words as you can.
    You are a helpful assistant.
    You answer questions.
    Answer in one word.
    Short answers only.
    You are a teacher.
    You are a clever little model.
    --
    Be brief, please.
    You help children with their homework.
    """)


@dataclass(frozen=True)
class Fact:
    """A question's phrasings, the bare answer with its form, and the sentence that says it."""

    asked: Lists
    fields: Mapping[str, object]
    form: str
    answer: str
    sentence: str


def pairs(text: str) -> list[tuple[str, str]]:
    """`"a banana yellow, snow white"`: what is asked about, and the word after its last space."""
    split = [part.split() for part in text.split(",")]
    return [(" ".join(part[:-1]), part[-1]) for part in split]


def both_ways(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rows and their reverses, but for words that would then have two opposites."""
    known = [word for row in rows for word in row]
    return rows + [(b, a) for a, b in rows if known.count(b) == 1]


NEXT = phrases("""
    What {unit} comes after {a}?
    Which {unit} is after {a}?
    What is the {unit} after {a}?
    {a} is a {unit}. What is the next one?
    {a}. And the {unit} after that?
    Tell me the {unit} after {a}.
    After {a} comes which {unit}?
    Today it is {a}. What {unit} will it be next?
    What {unit} is next after {a}?
    Give me the next {unit} after {a}.
    When {a} is over, what {unit} is it?
    {a} is over. What {unit} begins?
    --
    If it is {a} now, which {unit} follows?
    Name the {unit} that follows {a}.
    """)
BEFORE = phrases("""
    What {unit} comes before {a}?
    Which {unit} is before {a}?
    What is the {unit} before {a}?
    {a}. And the {unit} before that?
    Tell me the {unit} before {a}.
    Before {a} comes which {unit}?
    Give me the {unit} just before {a}.
    It is {a} now. What {unit} was it before?
    --
    Name the {unit} that ends when {a} begins.
    Which {unit} leads up to {a}?
    """)


def calendar(make: Maker) -> Fact:
    unit, names = make.pick((("day", DAYS), ("month", MONTHS)))
    place, forward = make.rng.randrange(len(names)), make.chance(0.6)
    other = names[(place + (1 if forward else -1)) % len(names)]
    where = "after" if forward else "before"
    return Fact(NEXT if forward else BEFORE, {"unit": unit, "a": names[place]}, "word", other,
                f"The {unit} {where} {names[place]} is {other}.")  # fmt: skip


OPPOSITE = phrases("""
    What is the opposite of {a}?
    Opposite of {a}?
    Tell me the opposite of {a}.
    What word means the opposite of {a}?
    Say the opposite: {a}
    Give me the opposite of {a}.
    {a}: what is its opposite?
    I say {a}. What is the opposite?
    What is not {a} but the opposite?
    Name the opposite of {a}.
    Find the opposite of the word {a}.
    Can you tell the opposite of {a}?
    --
    Turn the word "{a}" into its opposite.
    Which word is the other way round from "{a}": its opposite?
    """)
PLURAL = phrases("""
    What is the plural of {a}?
    Plural of {a}?
    One {a}, two what?
    Tell me the plural of {a}.
    How do you say more than one {a}?
    Give me the plural of {a}.
    What do you call many of them: {a}?
    {a}: what is the plural?
    One {a} and one more {a} are two what?
    Write the plural of {a}.
    What is the word for two or more of {a}?
    Name the plural form of {a}.
    --
    Here is one {a}. If there are five, what do I call them?
    Put {a} into the plural.
    """)
COLOUR = phrases("""
    What colour is {a}?
    Which colour does {a} have?
    Tell me the colour of {a}.
    {a} has which colour?
    Say the colour of {a}.
    Of what colour is {a}?
    Do you know the colour of {a}?
    I want to draw {a}. What colour is it?
    Give me the colour of {a}.
    --
    Name the colour that {a} has.
    If I paint {a}, which colour should I take?
    """)
SOUND = phrases("""
    What does a {a} say?
    What sound does a {a} make?
    Which noise does a {a} make?
    Tell me what a {a} says.
    Say what sound a {a} makes.
    What noise does a {a} make?
    How does a {a} talk?
    The {a} says what?
    Do you know the sound of a {a}?
    --
    I hear a {a}. How does it sound?
    Make the noise of a {a}.
    """)
BABY = phrases("""
    What is a baby {a} called?
    What do you call a young {a}?
    What is the name for a baby {a}?
    Tell me the name of a baby {a}.
    A young {a} is called what?
    The baby of a {a} is a what?
    Say what a little {a} is called.
    Which word means a young {a}?
    --
    A {a} has a little one. What is the word for it?
    Name the young of a {a}.
    """)
HOME = phrases("""
    Where does a {a} live?
    What is the home of a {a}?
    Tell me where a {a} lives.
    A {a} lives in a what?
    What does a {a} live in?
    Where is a {a} at home?
    What is the house of a {a} called?
    --
    In what do you find a {a} at home?
    Name the place where a {a} lives.
    """)
LEG = phrases("""
    How many legs does a {a} have?
    Tell me how many legs a {a} has.
    How many legs are on a {a}?
    A {a} has how many legs?
    How many legs do you see on a {a}?
    Legs of a {a}?
    Give me the number of legs of a {a}.
    --
    Count the legs of a {a}.
    A {a} stands on how many legs?
    """)
TABLES = (
    (OPPOSITE, both_ways(pairs(OPPOSITES)), "The opposite of {a} is {b}."),
    (PLURAL, pairs(IRREGULAR), "The plural of {a} is {b}."),
    (COLOUR, pairs(COLOUR_OF), "The colour of {a} is {b}."),
    (SOUND, pairs(SAYS), "A {a} says {b}."),
    (BABY, pairs(YOUNG), "A baby {a} is called a {b}."),
    (HOME, pairs(HOMES), "The home of a {a} is a {b}."),
    (LEG, pairs(LEGS), "A {a} has {b} legs."),
)


def from_table(make: Maker) -> Fact:
    ways, rows, sentence = make.pick(TABLES)
    a, b = make.pick(rows)
    return Fact(ways, {"a": a}, "word", sentence_case(b), sentence_case(sentence.format(a=a, b=b)).replace("a water", "water"))


def plural(make: Maker) -> Fact:
    noun = make.pick(PLURALS)
    if noun.endswith(("s", "x", "ch", "sh")):
        many = noun + "es"
    else:
        many = noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"
    return Fact(PLURAL, {"a": noun}, "words" if " " in noun else "word", sentence_case(many), f"The plural of {noun} is {many}.")


BIGGER = phrases("""
    What is bigger, {a} or {b}?
    Which is bigger: {a} or {b}?
    Which one is bigger, {a} or {b}?
    Tell me which is bigger, {a} or {b}.
    {a} or {b}: which is bigger?
    Is {a} or {b} bigger?
    Between {a} and {b}, what is bigger?
    Of {a} and {b}, which is bigger?
    --
    {a} stands next to {b}. Which of them is the bigger one?
    Compare {a} and {b}: name the bigger one.
    """)
SMALLER = phrases("""
    What is smaller, {a} or {b}?
    Which is smaller: {a} or {b}?
    Tell me which is smaller, {a} or {b}.
    {a} or {b}: which is smaller?
    Is {a} or {b} smaller?
    Between {a} and {b}, what is smaller?
    Of {a} and {b}, which is smaller?
    --
    Compare {a} and {b}: name the smaller one.
    """)


def by_size(make: Maker) -> Fact:
    names = BY_SIZE.split()
    while True:
        a, b = make.some(names, 2)
        if abs(names.index(a) - names.index(b)) > 2 and make.owns("size", *sorted((a, b))):
            break
    more = make.chance(0.7)
    answer, other = (a, b) if (names.index(a) > names.index(b)) == more else (b, a)
    sentence = f"{with_article(answer)} is {'bigger' if more else 'smaller'} than {with_article(other)}."
    fields = {"a": with_article(a), "b": with_article(b)}
    return Fact(BIGGER if more else SMALLER, fields, "word", sentence_case(answer), sentence_case(sentence))


FIRST_LETTER = phrases("""
    What is the first letter of {a}?
    Which letter does {a} start with?
    What letter does the word {a} begin with?
    Tell me the first letter of {a}.
    {a}: what is the first letter?
    What does {a} start with?
    Give me the first letter in {a}.
    The word {a} starts with what letter?
    --
    Which letter opens the word {a}?
    Look at {a}. Which letter stands at its start?
    """)
LAST_LETTER = phrases("""
    What is the last letter of {a}?
    Which letter does {a} end with?
    Tell me the last letter of {a}.
    {a}: what is the last letter?
    What does {a} end with?
    Give me the last letter in {a}.
    The word {a} ends with what letter?
    --
    Which letter closes the word {a}?
    Look at {a}. Which letter stands at its end?
    """)
SPELL = phrases("""
    Spell {a}.
    How do you spell {a}?
    Spell the word {a}.
    Can you spell {a} for me?
    Please spell {a}.
    Tell me how to spell {a}.
    Write {a} letter by letter.
    Say the letters of {a}.
    The letters of {a}, please.
    Split {a} into letters.
    --
    Which letters are in {a}, one by one?
    Take {a} apart into its letters.
    """)


def letters(make: Maker) -> Fact:
    word, what = make.pick(SPELT), make.rng.randrange(3)
    if what == 0:
        spelt = "-".join(word)
        return Fact(SPELL, {"a": word}, "word", spelt, f"You spell {word} {spelt}.")
    letter, where = (word[0], "first") if what == 1 else (word[-1], "last")
    return Fact(
        FIRST_LETTER if what == 1 else LAST_LETTER, {"a": word}, "word", letter, f"The {where} letter of {word} is {letter}."
    )


KIND_OF = phrases("""
    Which is {kind}: {a} or {b}?
    Which of these is {kind}: {a}, {b}?
    What is {kind}, {a} or {b}?
    {a} or {b}: which is {kind}?
    Tell me which is {kind}, {a} or {b}.
    Of {a} and {b}, which is {kind}?
    Is {a} or {b} {kind}?
    One of them is {kind}: {a} or {b}?
    Name the one that is {kind}: {a}, {b}.
    --
    Only one of {a} and {b} is {kind}. Which one?
    Pick {kind} out of these two: {a}, {b}.
    """)


def belongs(make: Maker) -> Fact:
    kind, other = make.some(sorted(GROUPS), 2)
    while True:
        right, wrong = make.pick(GROUPS[kind].split()), make.pick(GROUPS[other].split())
        if right != "orange" and wrong != "orange" and make.owns("kind", right, wrong):
            break
    a, b = make.some((right, wrong), 2)
    named = with_article(kind)
    return Fact(KIND_OF, {"kind": named, "a": a, "b": b}, "word", sentence_case(right), f"{sentence_case(right)} is {named}.")


ADD = phrases("""
    What is {a} + {b}?
    What is {a} plus {b}?
    {a} + {b} = ?
    How much is {a} and {b}?
    Add {a} and {b}.
    {a}+{b}
    Tell me {a} + {b}.
    {a} and {b} make what?
    Sum: {a} and {b}
    How much is {a} plus {b}?
    Can you add {a} to {b}?
    What do {a} and {b} make?
    I have {a} and I get {b}. How many?
    Give me {a} plus {b}.
    The sum of {a} and {b}?
    --
    Work out the sum of {a} and {b}.
    If you put {a} and {b} together, which number do you get?
    """)
SUBTRACT = phrases("""
    What is {a} - {b}?
    What is {a} minus {b}?
    {a} - {b} = ?
    How much is {a} less {b}?
    Take {b} away from {a}.
    Tell me {a} - {b}.
    {a} take away {b} makes what?
    How much is {a} minus {b}?
    Can you take {b} from {a}?
    I have {a} and I lose {b}. How many?
    Give me {a} minus {b}.
    {a}-{b}
    From {a} take {b}. What is left?
    --
    Work out {a} without {b}.
    Which number is left when {b} is taken off {a}?
    """)
STORY_ADD = phrases("""
    {who} has {a} {things}. {who} gets {b} more. How many {things} does {who} have now?
    There are {a} {things} in a bag. {who} puts in {b} more. How many are in the bag?
    {who} eats {a} {things} and then {b} {things}. How many {things} did {who} eat?
    {who} saw {a} {things} and {b} more. How many {things} did {who} see?
    {a} {things} are here and {b} are there. How many are there in all?
    On one day {who} buys {a} {things}, on the next day {b}. How many {things} is that?
    --
    First {who} found {a} {things}, and later another {b}. How many {things} are that?
    """)
STORY_TAKE = phrases("""
    {who} has {a} {things}. {who} gives away {b}. How many {things} are left?
    There are {a} {things} on the table. {who} eats {b}. How many are left?
    {who} had {a} {things} and ate {b}. How many {things} does {who} have now?
    {a} {things} hang on a tree. {b} fall down. How many are still there?
    {who} buys {a} {things} and sells {b}. How many are left?
    --
    Out of {a} {things}, {who} lost {b}. How many did {who} keep?
    """)


def sums(make: Maker) -> Fact:
    """Sums up to 20 + 20; a tenth of the pairs of numbers is held out."""
    while True:
        a, b = sorted((make.rng.randint(1, make.pick((9, 10, 20))), make.rng.randint(1, make.pick((5, 9, 10)))), reverse=True)
        if make.owns("sum", a, b):
            break
    plus, story = make.chance(0.55), make.chance(0.25)
    if plus and make.chance(0.5):
        a, b = b, a
    total = a + b if plus else a - b
    ask = {(True, True): STORY_ADD, (True, False): ADD, (False, True): STORY_TAKE, (False, False): SUBTRACT}[plus, story]
    fields = {"a": a, "b": b, "who": person(make), "things": plural_fruit(make)}
    said = f"There are {total}." if story else f"{a} {'plus' if plus else 'minus'} {b} is {total}."
    if story and 1 in (a, b, total):
        return sums(make)  # "1 apples"
    return Fact(ask, fields, "number", str(total), said)


def plural_fruit(make: Maker) -> str:
    fruit = make.pick([one for one in FRUITS.train + FRUITS.held if one not in {"peach", "cherry", "mango"}])
    return f"{fruit}s"


AFTER = phrases("""
    What number comes after {a}?
    What comes after {a}?
    Which number is next: {c}, {b}, {a}?
    What is one more than {a}?
    Tell me the number after {a}.
    {b}, {a}, and then?
    What is the next number after {a}?
    After {a} comes which number?
    I say {a}. What is the next number?
    Count on from {a} by one.
    {a} plus one more is what?
    --
    I am counting and have just said {a}. What do I say next?
    Name the number that follows {a}.
    """)
DOWN = phrases("""
    What number comes before {a}?
    What is one less than {a}?
    Which number is just before {a}?
    Tell me the number before {a}.
    Before {a} comes which number?
    Which number is one less than {a}?
    {a} less one is what?
    Give me the number that is before {a}.
    --
    I count backwards and have just said {a}. What do I say next?
    """)
DOUBLE = phrases("""
    What is two times {a}?
    Double {a}.
    What is {a} doubled?
    Tell me two times {a}.
    How much is two times {a}?
    What is the double of {a}?
    2 times {a} is what?
    {a} and again {a} makes what?
    --
    Take {a} twice. Which number is it?
    """)


def neighbours(make: Maker) -> Fact:
    while True:
        a, what = make.rng.randint(3, make.pick((20, 100))), make.rng.randrange(3)
        if make.owns("next", a, what):
            break
    fields = {"a": a, "b": a - 1, "c": a - 2}
    if what == 0:
        return Fact(AFTER, fields, "number", str(a + 1), f"The number after {a} is {a + 1}.")
    if what == 1:
        return Fact(DOWN, fields, "number", str(a - 1), f"The number before {a} is {a - 1}.")
    a = (a - 1) % 20 + 1
    return Fact(DOUBLE, {"a": a}, "number", str(2 * a), f"Two times {a} is {2 * a}.")


COUNT = phrases("""
    Count from {a} to {b}.
    Can you count from {a} to {b}?
    Write the numbers from {a} to {b}.
    Count up from {a} to {b}.
    Say the numbers from {a} to {b}.
    All numbers from {a} to {b}, please.
    Start with {a} and count to {b}.
    Count: {a} to {b}
    Give me the numbers {a} to {b}.
    I want to hear you count from {a} up to {b}.
    --
    Begin at {a} and say every number up to {b}.
    Go up in ones, {a} first, {b} last.
    """)
DAYS_LIST = phrases("""
    What are the days of the week?
    Name the days of the week.
    List the days of the week.
    Tell me the days of the week.
    The days of the week, please.
    Say all days of a week.
    Which days does a week have?
    --
    Which seven days make a week?
    """)


def lists(make: Maker) -> Fact:
    if make.chance(0.15):
        return Fact(DAYS_LIST, {}, "words", ", ".join(DAYS), f"The days of the week are {', '.join(DAYS[:-1])} and {DAYS[-1]}.")
    while True:
        a = make.rng.randint(1, 20)
        b = a + make.rng.randint(3, 9)
        if make.owns("count", a, b):
            break
    row = ", ".join(map(str, range(a, b + 1)))
    return Fact(COUNT, {"a": a, "b": b}, "words", row, f"The numbers are {row}.")


FACTS: dict[Callable[[Maker], Fact], float] = {
    sums: 4, neighbours: 2, from_table: 3, calendar: 1, plural: 1, by_size: 1, letters: 1.5, belongs: 1, lists: 0.8,
}  # fmt: skip


def fact(make: Maker) -> Task:
    """One question, or two of a kind in a row; with a system prompt or an asked-for sentence now and then."""
    ask = make.rng.choices(list(FACTS), list(FACTS.values()))[0]
    messages = []
    say = make.chance(0.2)
    if say and make.chance(0.3):
        messages.append(system(make.pick(SENTENCE)))
    elif not say and make.chance(0.1):
        messages.append(system(make.pick(BARE)))
    told = bool(messages)
    for _ in range(2 if make.chance(0.12) else 1):
        one = ask(make)
        question = asked(make, one.asked, **one.fields)
        if say and not told:
            question += " " + make.pick(SENTENCE)
        messages += [user(question), assistant(one.sentence if say else one.answer)]
    return Task(messages, "sentence" if say else one.form, one.sentence if say else one.answer)
