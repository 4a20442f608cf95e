"""Words that several kinds share: people, places, things, values to copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kinds.shapes import Lists, Maker, words
from kinds.vocabulary import any_name, any_word

GIRLS = words(
    "Lily Anna Mia Sue Lucy Emma Nora Ella Rosa Ida Clara Lena Zoe Maya Ruth Nina Eva Alice Julia Sofia Grace Laura Olga Amy"
    " Vera Jane Kate Rita Holly Daisy | Freya Hana Petra Wendy Selma Bella"
)
BOYS = words(
    "Tom Max Ben Sam Tim Jack Leo Paul Dan Finn Hugo Omar Felix Karl Oscar Ivan Peter Noah Henry Marco Erik Simon Theo"
    " Victor Hans Ali Luis Adam Bruno Samir | Milo Otto Jonas Kofi Edgar Rafi"
)
PEOPLE = Lists(GIRLS.train + BOYS.train, GIRLS.held + BOYS.held)
CITIES = words(
    "Oslo Paris Rome London Berlin Madrid Vienna Lisbon Dublin Athens Cairo Delhi Tokyo Lima Boston Chicago Dallas Seattle"
    " Prague Warsaw Zurich Geneva Milan Naples Munich Hamburg Lyon Nice Porto Seville Bergen Malmo Helsinki Riga Quito Bogota"
    " Havana Accra Nairobi Dakar Tunis Beirut Mumbai Hanoi Seoul Osaka Manila Sydney Perth Auckland Toronto Denver Austin"
    " Miami | Tallinn Krakow Turin Leeds Ghent Kyoto Windhoek Ottawa Phoenix Cork Basel Split"
)
ANIMALS = words(
    "dog cat bird fish frog bear rabbit mouse duck horse cow pig lion tiger monkey fox owl bee squirrel turtle elephant"
    " sheep goat hen wolf deer snake whale | hedgehog penguin giraffe zebra camel crab"
)
COLOURS = words("red blue green yellow black white brown pink grey orange purple gold silver | violet crimson turquoise beige")
ROOMS = words("kitchen bedroom garage office cellar attic hall garden library bathroom classroom | pantry studio workshop lobby")
LANGUAGES = words("English French German Spanish Italian Polish Dutch Greek Turkish Arabic Hindi | Danish Finnish Czech Swahili")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
FIRST = words(
    "Blue Silent Golden Little Happy Lost Secret Winter Summer Old Green Broken Magic Wild Red | Silver Hidden Distant Purple"
)
SECOND = words(
    "Moon River Forest Star Garden Night Ocean Road Dream Castle Bird Island Door Rain Tree | Harbor Meadow Lantern Comet"
)
JOBS = words("teacher doctor farmer baker pilot nurse cook driver singer painter | sailor dentist gardener plumber")
FRUITS = words("apple pear plum orange banana lemon peach cherry grape melon | mango fig apricot kiwi")

STARTS = "b br c d dr f fl g gr h j k l m n p pl qu r s sk st t tr v w z"
MIDDLES = "a e i o u ai ee oo ou"
ENDS = "b ck d f g k l ll m mp n p r rt sh sk ss st t x z"


def title(make: Maker) -> str:
    """A made-up title of a word or two."""
    if make.strange(0.5):
        return any_name(make)
    return f"{make.pick(FIRST)} {make.pick(SECOND)}"


def one_of(values: Lists, other: Callable[[Maker], str] = any_word) -> Callable[[Maker], Any]:
    """One of the list, or in training as often another word that only the request says."""
    return lambda make: other(make) if make.strange(0.5) else make.pick(values)


person = one_of(PEOPLE, any_name)
city = one_of(CITIES, any_name)


def code(make: Maker) -> str:
    """Letters and digits with nothing to guess: "K42"."""
    letters = "".join(make.some("ABCDEFGHKLMNPRSTUVWXYZ", make.rng.randint(1, 2)))
    return f"{letters}{make.rng.randint(10, 999)}"


def nonce(make: Maker) -> str:
    """A word that does not exist, so that it can only be copied; a tenth of them is held out."""
    while True:
        parts = [make.pick(STARTS.split()) + make.pick(MIDDLES.split()) for _ in range(make.rng.randint(1, 2))]
        made = "".join(parts) + str(make.pick(ENDS.split()))
        if make.owns("nonce", made):
            return made
