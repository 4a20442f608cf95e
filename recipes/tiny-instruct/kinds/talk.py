"""Small talk: greetings and thanks, questions about itself, what it was told before, and what it cannot know."""

from __future__ import annotations

from collections.abc import Callable

from kinds.names import ANIMALS, CITIES, COLOURS, DAYS, FRUITS, JOBS, LANGUAGES, PEOPLE, city, one_of, person
from kinds.shapes import Lists, Maker, Message, Task, assistant, phrases, sentence_case, system, user, with_article, words
from kinds.vocabulary import any_word, asked

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
        Hello there
        Hi, how nice to see you
        Hey you
        Hello, my friend!
        Good evening!
        Hi tiny
        Hello again
        Hey there!
        Oh, hello!
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
        How do you feel?
        How are you doing?
        Are you fine?
        Are you okay?
        How is it going?
        Is all well with you?
        How do you feel today?
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
        Thank you so much!
        I thank you.
        Thanks for your help.
        That is nice, thank you!
        Great, thanks!
        You helped me, thank you.
        Oh thank you!
        That was helpful.
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
        Bye bye!
        Good bye for today.
        I must go.
        I will go to bed now.
        See you tomorrow.
        Until tomorrow!
        So long!
        I am leaving.
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
        What kind of thing are you?
        Am I talking to a machine?
        Are you real?
        Are you a computer?
        Do you have a name?
        Say who you are.
        Who is there?
        Who is speaking?
        Are you a machine?
        Tell me who you are.
        Are you somebody?
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
        What do you know?
        Tell me what you can do.
        What are your skills?
        What do you do?
        What are you for?
        How can I use you?
        Show me what you can do.
        What things can you do?
        --
        Which things do you know how to do?
        Give me an idea of your skills.
        """), "I can tell short stories, do small sums, write JSON and call tools."),
    (phrases("""
        How big are you?
        Are you a large model?
        How many parameters do you have?
        How large are you?
        Are you big?
        Are you small?
        Tell me your size.
        What is your size?
        How many weights do you have?
        Is your network big?
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
        Are you hungry?
        Do you have a mother?
        Do you have friends?
        Are you sad?
        Do you love me?
        Can you hear me?
        What do you eat?
        Do you dream?
        Where were you born?
        Are you tired?
        Do you have a body?
        Do you have brothers?
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
    Is it cold in {city}?
    What is {name} doing?
    Where did {name} go on {day}?
    Who is {name}?
    Who lives in {city}?
    Is there a {job} in {city}?
    What did {name} say?
    Which bus goes to {city}?
    How high is the tower of {city}?
    When does the train to {city} leave?
    How many {animal} are there in {city}?
    Did {name} come on {day}?
    What will the weather be on {day}?
    Tell me what {name} likes.
    Who is the best {job} in {city}?
    How hot was it on {day}?
    What does {name} think?
    Who is thinking of me?
    How long is the way to {city}?
    Is it far to {city}?
    Who plays on {day}?
    What is the address of {name}?
    Where can I buy a {fruit} in {city}?
    Was it nice in {city} on {day}?
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
    I am called {v}.
    This is {v}.
    My friends call me {v}.
    Hello, {v} here.
    Let me say who I am: {v}.
    {v} is my name.
    --
    People call me {v}.
    You may call me {v}.
    """)
# What somebody says of themselves, the polite reply, the question after, and its answer.
MEMORIES: tuple[tuple[Lists, str, Lists, str, Callable[[Maker], str]], ...] = (
    (INTRODUCE, "Nice to meet you, {v}!", phrases("""
        What is my name?
        Who am I?
        Do you know my name?
        Tell me my name.
        Can you say my name?
        What am I called?
        What did I say my name was?
        Which name do I have?
        --
        By which name did I introduce myself?
        """), "Your name is {v}.", person),
    (phrases("""
        I live in {v}.
        My home is in {v}.
        I have a house in {v}.
        I am from {v}.
        {v} is my home.
        I moved to {v}.
        --
        You find my house in {v}.
        """), "That sounds nice.", phrases("""
        Where do I live?
        In which city do I live?
        Where is my home?
        Tell me where I live.
        Do you know where I live?
        Which place is my home?
        --
        Which place did I say was mine?
        """), "You live in {v}.", city),
    (phrases("""
        My favourite colour is {v}.
        I like {v} best of all colours.
        The colour I like best is {v}.
        {v} is my favourite colour.
        I love {v}, it is the best colour.
        --
        For me, no colour beats {v}.
        """), "That is a nice colour.", phrases("""
        What is my favourite colour?
        Which colour do I like?
        Tell me my favourite colour.
        What colour do I like best?
        Do you know which colour I like?
        --
        So which colour do I prefer?
        """), "Your favourite colour is {v}.", one_of(COLOURS)),
    (phrases("""
        My pet is called {v}.
        I have a pet. Its name is {v}.
        I call my pet {v}.
        {v} is the name of my pet.
        My pet has the name {v}.
        --
        I gave my pet the name {v}.
        """), "{v} is a good name for a pet.", phrases("""
        What is my pet called?
        What is the name of my pet?
        Tell me the name of my pet.
        What name does my pet have?
        Do you know what my pet is called?
        --
        What did I name my pet?
        """), "Your pet is called {v}.", person),
)  # fmt: skip
PLAYED = phrases("""
    Your name is {name}.
    You are {name}, a helpful assistant.
    You are called {name}.
    You are {name} the {animal}.
    You are {name}.
    Be {name} today.
    Act as {name}.
    Say that your name is {name}.
    You have the name {name}.
    In this game you are {name}.
    --
    Play the part of {name}.
    From now on you go by the name of {name}.
    """)
ASK_NAME = phrases("""
    What is your name?
    Who are you?
    Who am I talking to?
    Do you have a name?
    Tell me your name.
    What are you called?
    How are you called?
    Who is it?
    What can I call you?
    Say your name.
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
    Say this: {v}
    Now say {v}.
    Can you say {v}?
    Say after me: {v}
    Write {v}.
    Copy: {v}
    The same again: {v}
    Please say {v}
    I want you to say {v}.
    Tell me this again: {v}
    --
    Echo this back to me: {v}
    Please copy the following: {v}
    """)
TRUE = phrases("""
    Is {a} {kind}?
    Would you say {a} is {kind}?
    {a}: is it {kind}?
    Do you think {a} is {kind}?
    Tell me if {a} is {kind}.
    Yes or no: is {a} {kind}?
    I say {a} is {kind}. Am I right?
    {a} is {kind}. Right?
    Is it right that {a} is {kind}?
    --
    True or not: {a} is {kind}.
    """)
KINDS = {"an animal": ANIMALS, "a fruit": FRUITS, "a colour": COLOURS, "a language": LANGUAGES, "a job": JOBS}
SAID = words("hello yes good_morning thank_you happy_birthday one_two_three well_done | good_luck welcome_home see_you_later")


def reply(make: Maker) -> Task:
    ways, answer = make.pick(REPLIES)
    return Task([user(asked(make, ways)), assistant(answer)], "sentence", answer)


def unknown(make: Maker) -> Task:
    lists = {"job": JOBS, "animal": ANIMALS, "fruit": FRUITS, "language": LANGUAGES}
    fields = {"city": city, "name": person} | {name: one_of(values) for name, values in lists.items()}
    question = asked(make, CANNOT_KNOW, day=make.pick(DAYS), **{name: value(make) for name, value in fields.items()})
    return Task([user(question), assistant(UNKNOWN)], "sentence", UNKNOWN)


def memory(make: Maker) -> Task:
    """What was said at first is asked for later."""
    said, polite, ways, answer, values = make.pick(MEMORIES)
    value = values(make)
    messages = [user(asked(make, said, v=value)), assistant(polite.format(v=value))]
    if make.chance(0.2):
        between = reply(make)
        messages += between.messages
    answer = answer.format(v=value)
    return Task([*messages, user(asked(make, ways)), assistant(answer)], "sentence", answer)


def named(make: Maker) -> Task:
    """A system prompt gives it another name."""
    name, animal = person(make), make.pick(ANIMALS)
    answer = f"My name is {name}."
    prompt = asked(make, PLAYED, name=name, animal=animal)
    return Task([system(prompt), user(asked(make, ASK_NAME)), assistant(answer)], "sentence", answer)


def repeat(make: Maker) -> Task:
    value = any_word(make) if make.strange(0.4) else make.pick(make.pick((SAID, COLOURS, CITIES, PEOPLE)))
    value = sentence_case(value)
    return Task([user(make.fill(SAY, v=value)), assistant(value)], "words", value)


def true_or_not(make: Maker) -> Task:
    """Yes or no; what kind of thing each word of the lists is."""
    kind, other = make.some(sorted(KINDS), 2)
    right = make.chance(0.5)
    item = make.pick([one for one in KINDS[kind if right else other].train if one not in {"orange", "gold", "silver"}])
    a = with_article(item) if item not in COLOURS.train + LANGUAGES.train else item
    answer = "Yes." if right else "No."
    return Task([user(asked(make, TRUE, a=a, kind=kind)), assistant(answer)], "word", answer)


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
