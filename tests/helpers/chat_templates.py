"""Chat templates in the styles that instruct models have, for the tiny tokenizers.

Each is short, because a tiny tokenizer spends a token on most characters. The facts beside a
template are written by hand: the oracle takes them from here and not from the code under test.
"""

from typing import NamedTuple


class ChatTemplate(NamedTuple):
    """A template and what is known about it.

    Attributes:
        text: The Jinja template.
        gap: What the template writes between the start of the assistant's turn and its text.
        header: The start of the assistant's turn, as far as the generation prompt lacks it.
        takes_system: Whether it accepts a system message.
        close: What closes the thinking block that the generation prompt opens.
        switch: Whether `enable_thinking=False` closes a thinking block.
    """

    text: str
    gap: str = ""
    header: str = ""
    takes_system: bool = True
    close: str = ""
    switch: bool = False

    @property
    def fixed(self) -> str:
        """The text with the date that `pas` puts in place of today's."""
        return self.text.replace("strftime_now('%d %b %Y')", "'26 Jul 2024'")


_ALTERNATE = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
)

# As Qwen 2 and SmolLM2: no BOS, and a system message of its own if none is given.
CHATML = ChatTemplate(
    "{% if messages[0].role != 'system' %}[s]Be kind.[/s]\n{% endif %}"
    "{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}[/{{ m.role[0] }}]\n{% endfor %}"
    "{% if add_generation_prompt %}[a]{% endif %}"
)
# As Llama 3: the BOS is in the template, texts are trimmed, and today's date is told.
LLAMA3 = ChatTemplate(
    "{{ bos_token }}[s]{{ strftime_now('%d %b %Y') }}[/s]"
    "{% for m in messages %}[{{ m.role[0] }}]\n\n{{ m.content | trim }}[/]{% endfor %}"
    "{% if add_generation_prompt %}[a]\n\n{% endif %}"
)
# As Mistral and Llama 2: no generation prompt, a space before the assistant's text, and the system
# message at the beginning of the first question.
INST = ChatTemplate(
    "{{ bos_token }}{% set first = '' %}"
    "{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n' %}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}" + _ALTERNATE + "{% if m.role == 'user' %}"
    "[I]{{ (first if loop.first else '') + m.content }}[/I]"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    gap=" ",
)
# As Gemma 2: no system message.
GEMMA = ChatTemplate(
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    + _ALTERNATE
    + "[{{ m.role[0] }}]\n{{ m.content | trim }}[/]\n{% endfor %}"
    "{% if add_generation_prompt %}[a]\n{% endif %}",
    takes_system=False,
)
# As the DeepSeek-R1 distillations: the generation prompt opens a thinking block, which is not in
# earlier turns.
THINKING = ChatTemplate(
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "[a]{{ m.content.split('</think>')[-1] }}{{ eos_token }}"
    "{% else %}{{ '[u]' if m.role == 'user' else '' }}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[a]<think>\n{% endif %}",
    close="\n</think>\n\n",
)
# As Qwen 3: the model opens the block itself, unless the template writes an empty one.
SWITCH = ChatTemplate(
    "{% for m in messages %}[{{ m.role[0] }}]\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}[/]\n{% endfor %}"
    "{% if add_generation_prompt %}[a]\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}",
    switch=True,
)
# Without a generation prompt, although the assistant's turn has a header.
HEADER = ChatTemplate(
    "{% for m in messages %}{{ m.role | upper }}: {{ m.content }}\n{% endfor %}",
    gap=" ",
    header="ASSISTANT:",
)
# With a generation prompt that lacks the line break after it.
LINE = ChatTemplate(
    "{% for m in messages %}[{{ m.role[0] }}]\n{{ m.content }}[/]{% endfor %}"
    "{% if add_generation_prompt %}[a]{% endif %}",
    header="\n",
)
CHAT_TEMPLATES = {
    "chatml": CHATML, "llama3": LLAMA3, "inst": INST, "gemma": GEMMA, "thinking": THINKING,
    "switch": SWITCH, "header": HEADER, "line": LINE,
}  # fmt: skip
# The style that each tiny architecture is tested with.
TEMPLATE_OF = {
    "llama": LLAMA3, "mistral": INST, "qwen2": CHATML, "gemma2": GEMMA, "gpt2": THINKING,
}  # fmt: skip
