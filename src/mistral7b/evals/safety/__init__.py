"""The paper's section 5, measured: refusals with and without the guardrail, and self-reflection (refusals, reflection)."""
