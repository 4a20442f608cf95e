"""Where benchmark items come from: one file a family, from its folder of files to the rows that lm-eval's task reads."""
