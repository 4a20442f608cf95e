"""Small talk: greetings and thanks, questions about itself, what it was told before, and what it cannot know."""

from __future__ import annotations

from collections.abc import Callable

from kinds.names import ANIMALS, CITIES, COLOURS, DAYS, FRUITS, JOBS, LANGUAGES, PEOPLE
from kinds.shapes import Lists, Maker, Message, Task, assistant, phrases, sentence_case, system, user, with_article, words

UNKNOWN = "I do not know that. I am only a very small model."
# Phrasings, and the reply to all of them.
REPLIES: tuple[tuple[Lists, str], ...] = (
    (phrases("""
        Hello
        Hello!
        Hi
        Hi!
        Hi there
        Hey
        Hello, tiny!
        Good day!
        Good morning!
        --
        Greetings!
        Hello to you, little model!
        Hey, are you there?
        """), "Hello! How can I help you?"),
    (phrases("""
        How are you?
        How are you today?
        How do you do?
        Are you well?
        --
        Is everything fine with you?
        How is life as a model?
        """), "I am fine, thank you. How can I help you?"),
    (phrases("""
        Thanks
        Thanks!
        Thank you
        Thank you!
        Thank you very much.
        Thanks a lot!
        That was good, thank you.
        --
        Many thanks to you.
        That helped me, I am grateful.
        """), "You are welcome!"),
    (phrases("""
        Bye
        Goodbye!
        Good night.
        See you soon!
        I have to go now.
        --
        Farewell, small friend.
        That is all for now, until next time!
        """), "Goodbye! Have a nice day."),
    (phrases("""
        Who are you?
        What are you?
        What is your name?
        Who am I talking to?
        Tell me about yourself.
        Are you a person?
        Are you a human?
        Are you a robot?
        Are you an AI?
        --
        Introduce yourself, please.
        Say who is answering me here.
        Is this a machine or somebody real?
        """), "I am tiny, a very small language model."),
    (phrases("""
        What can you do?
        How can you help me?
        What are you good at?
        Help
        What should I ask you?
        --
        Which things do you know how to do?
        Give me an idea of your skills.
        """), "I can tell short stories, do small sums, write JSON and call tools."),
    (phrases("""
        How big are you?
        Are you a large model?
        How many parameters do you have?
        --
        Say how large your network is.
        """), "I have eleven million parameters, which is very small."),
    (phrases("""
        How old are you?
        Where do you live?
        Do you have feelings?
        Do you like pizza?
        Can you see me?
        Do you sleep?
        --
        Have you got a family?
        Do you ever get hungry?
        """), "I am only a computer program, so that is not for me."),
)  # fmt: skip
CANNOT_KNOW = phrases("""
    What is the weather in {city}?
    How many people live in {city}?
    Who is the mayor of {city}?
    What time is it?
    What time is it in {city}?
    What day is it today?
    What did I eat on {day}?
    How old is {name}?
    What is the phone number of {name}?
    Where is {name} now?
    Who won the game on {day}?
    What is in my pocket?
    What is the news today?
    How much does a {job} earn in {city}?
    Who wrote the book "{name} and the {animal}"?
    When was {city} built?
    How do you say {fruit} in {language}?
    What will happen on {day}?
    What does a ticket to {city} cost?
    --
    Which team plays in {city} on {day}?
    Say what {name} is thinking right now.
    How far is it from {city} to the sea?
    Did it rain in {city} last {day}?
    Give me the address of {name} the {job}.
    Where in {city} can I meet a {animal}?
    """)

INTRODUCE = phrases("""
    My name is {v}.
    I am {v}.
    Hi, I am {v}.
    Hello, my name is {v}.
    --
    People call me {v}.
    You may call me {v}.
    """)
# What somebody says of themselves, the polite reply, the question after, and its answer.
MEMORIES: tuple[tuple[Lists, str, Lists, str, Lists], ...] = (
    (INTRODUCE, "Nice to meet you, {v}!", phrases("""
        What is my name?
        Who am I?
        Do you know my name?
        --
        By which name did I introduce myself?
        """), "Your name is {v}.", PEOPLE),
    (phrases("""
        I live in {v}.
        My home is in {v}.
        --
        You find my house in {v}.
        """), "That sounds nice.", phrases("""
        Where do I live?
        In which city do I live?
        --
        Which place did I say was mine?
        """), "You live in {v}.", CITIES),
    (phrases("""
        My favourite colour is {v}.
        I like {v} best of all colours.
        --
        For me, no colour beats {v}.
        """), "That is a nice colour.", phrases("""
        What is my favourite colour?
        Which colour do I like?
        --
        So which colour do I prefer?
        """), "Your favourite colour is {v}.", COLOURS),
    (phrases("""
        My pet is called {v}.
        I have a pet. Its name is {v}.
        --
        I gave my pet the name {v}.
        """), "{v} is a good name for a pet.", phrases("""
        What is my pet called?
        What is the name of my pet?
        --
        What did I name my pet?
        """), "Your pet is called {v}.", PEOPLE),
)  # fmt: skip
PLAYED = phrases("""
    Your name is {name}.
    You are {name}, a helpful assistant.
    You are called {name}.
    You are {name} the {animal}.
    --
    Play the part of {name}.
    From now on you go by the name of {name}.
    """)
ASK_NAME = phrases("""
    What is your name?
    Who are you?
    Who am I talking to?
    --
    Tell me how I should call you.
    Say who is answering me here.
    """)
SAY = phrases("""
    Say {v}.
    Say "{v}".
    Repeat: {v}
    Write the word {v}.
    Repeat after me: {v}
    --
    Echo this back to me: {v}
    Please copy the following: {v}
    """)
TRUE = phrases("""
    Is {a} {kind}?
    Would you say {a} is {kind}?
    --
    True or not: {a} is {kind}.
    """)
KINDS = {"an animal": ANIMALS, "a fruit": FRUITS, "a colour": COLOURS, "a language": LANGUAGES, "a job": JOBS}
SAID = words("hello yes good_morning thank_you happy_birthday one_two_three well_done | good_luck welcome_home see_you_later")


def reply(make: Maker) -> Task:
    asked, answer = make.pick(REPLIES)
    return Task([user(make.fill(asked)), assistant(answer)], "sentence", answer)


def unknown(make: Maker) -> Task:
    fields = {"city": CITIES, "name": PEOPLE, "job": JOBS, "animal": ANIMALS, "fruit": FRUITS, "language": LANGUAGES}
    question = make.fill(CANNOT_KNOW, day=make.pick(DAYS), **{name: make.pick(values) for name, values in fields.items()})
    return Task([user(question), assistant(UNKNOWN)], "sentence", UNKNOWN)


def memory(make: Maker) -> Task:
    """What was said at first is asked for later."""
    said, polite, asked, answer, values = make.pick(MEMORIES)
    value = make.pick(values)
    messages = [user(make.fill(said, v=value)), assistant(polite.format(v=value))]
    if make.chance(0.2):
        between = reply(make)
        messages += between.messages
    answer = answer.format(v=value)
    return Task([*messages, user(make.fill(asked)), assistant(answer)], "sentence", answer)


def named(make: Maker) -> Task:
    """A system prompt gives it another name."""
    name, animal = make.pick(PEOPLE), make.pick(ANIMALS)
    answer = f"My name is {name}."
    prompt = make.fill(PLAYED, name=name, animal=animal)
    return Task([system(prompt), user(make.fill(ASK_NAME)), assistant(answer)], "sentence", answer)


def repeat(make: Maker) -> Task:
    value = sentence_case(make.pick(make.pick((SAID, COLOURS, CITIES, PEOPLE))))
    return Task([user(make.fill(SAY, v=value)), assistant(value)], "words", value)


def true_or_not(make: Maker) -> Task:
    """Yes or no; what kind of thing each word of the lists is."""
    kind, other = make.some(sorted(KINDS), 2)
    right = make.chance(0.5)
    item = make.pick([one for one in KINDS[kind if right else other].train if one not in {"orange", "gold", "silver"}])
    a = with_article(item) if item not in COLOURS.train + LANGUAGES.train else item
    answer = "Yes." if right else "No."
    return Task([user(make.fill(TRUE, a=a, kind=kind)), assistant(answer)], "word", answer)


TALKS: dict[Callable[[Maker], Task], float] = {reply: 3, unknown: 2.5, memory: 2, named: 1, repeat: 1, true_or_not: 1}


def talk(make: Maker) -> Task:
    """One of the above, now and then after a greeting or with thanks to end it."""
    task = make.rng.choices(list(TALKS), list(TALKS.values()))[0](make)
    if task.messages[0]["role"] == "user" and make.chance(0.1):
        hello: list[Message] = [user(make.fill(REPLIES[0][0])), assistant(REPLIES[0][1])]
        task.messages[:0] = hello
    if not make.held and make.chance(0.08):
        task.messages += [user(make.fill(REPLIES[2][0])), assistant(REPLIES[2][1])]
    return task
