"""Answers to mathematical questions: what a text answers (gsm8k, extract), when two answers are the same (equivalent), and what
most of several answers say (vote).

An answer of MATH goes latex -> lexer -> reading (lists, intervals, matrices, texts ...) -> syntax (an expression) -> value.
Nothing of it is evaluated as a program, and nothing depends on a clock: the same two answers are always judged the same.
"""
