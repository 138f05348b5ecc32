"""Tiny random models with real tokenizers, one of each family, made in a second and written to a folder.

``build(name, folder)`` knows the names in :data:`BUILDERS`. Weights are random but fixed by a seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs.",
    "This is a great movie! I loved it. This is a terrible movie. I hated it.",
    "translate English to French: The house is wonderful. La maison est magnifique.",
    "你好，世界。今天天气很好。 Voilà, un café ☕ crème. Привет, мир! 🎉🎉",
    "<|user|> Hello, how are you? </s> [SEP] 0 1 2 3 4 5 6 7 8 9 once upon a time there was a model",
] * 4

CHAT_TEMPLATE = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "{% if loop.first and message.role == 'assistant' %}{{ raise_exception('The user speaks first') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking %}<think>{% endif %}{% endif %}"
)

_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def build(name: str, folder: Path) -> Path:
    """Make the model called ``name`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20)
    BUILDERS[name](folder)
    return folder


def byte_level(folder: Path, special: list[str], **config: Any) -> Tokenizer:
    """A byte-level BPE tokenizer as GPT-2, Llama 3 and Qwen have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _saved(tokenizer, folder, config)


def sentence_piece_like(folder: Path, special: list[str], **config: Any) -> Tokenizer:
    """A Unigram tokenizer with word-boundary marks as T5 has."""
    # The trainer of Unigram does not give the same vocabulary twice, so the pieces are counted out here.
    words = sorted({"▁" + word for line in CORPUS for word in line.split()})
    letters = sorted({letter for line in CORPUS for letter in line if not letter.isspace()} | {"▁"})
    pieces = (
        [(token, 0.0) for token in special] + [(word, -4.0) for word in words] + [(letter, -6.0) for letter in letters]
    )
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=special.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return _saved(tokenizer, folder, config)


def word_piece(folder: Path, **config: Any) -> Tokenizer:
    """A WordPiece tokenizer as BERT has."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
             "mask_token": "[MASK]", "tokenizer_class": "BertTokenizer"}  # fmt: skip
    return _saved(tokenizer, folder, {**names, **config})


def _saved(tokenizer: Tokenizer, folder: Path, config: dict[str, Any]) -> Tokenizer:
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **config})
    return tokenizer


def write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def change_json(file: Path, **values: object) -> None:
    """Set keys of a JSON file; ``None`` removes one."""
    content = json.loads(file.read_text(encoding="utf-8"))
    content = {key: value for key, value in {**content, **values}.items() if value is not None}
    write_json(file, content)


def _save(model: Any, folder: Path, *, louder: float = 1.0) -> None:
    """Write the model. ``louder`` scales its matrices, so that different texts get clearly different results.

    Embeddings stay: where they are also the output layer, larger ones would only repeat the last token.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" not in name and "shared" not in name:
                parameter.mul_(louder)
    model.eval().save_pretrained(folder, max_shard_size="10MB")


# --- decoder-only ------------------------------------------------------------------------------------------------


def llama(folder: Path) -> None:
    """A model tuned for conversation: special tokens, a template, tied embeddings, grouped-query attention."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_level(folder, special, bos_token="<|endoftext|>", eos_token="<|im_end|>",
                           pad_token="<|endoftext|>")  # fmt: skip
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), **_SIZES, num_key_value_heads=1, max_position_embeddings=256,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    _save(transformers.LlamaForCausalLM(config), folder, louder=20)


def qwen2(folder: Path) -> None:
    """A base model without template that samples by default."""
    tokenizer = byte_level(folder, ["<|endoftext|>"], eos_token="<|endoftext|>", add_bos_token=False)
    config = transformers.Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(), **_SIZES, num_key_value_heads=1, max_position_embeddings=128,
        bos_token_id=None, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    _save(transformers.Qwen2ForCausalLM(config), folder, louder=6)
    change_json(folder / "generation_config.json", do_sample=True, temperature=0.7, top_k=20, top_p=0.8,
                repetition_penalty=1.1)  # fmt: skip


def gemma3(folder: Path) -> None:
    """Sliding-window attention, word-boundary marks and a beginning token that its configuration asks for."""
    tokenizer = sentence_piece_like(folder, ["<pad>", "</s>", "<bos>", "<unk>"], bos_token="<bos>", eos_token="</s>",
                                    pad_token="<pad>")  # fmt: skip
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.Gemma3TextConfig(
        vocab_size=tokenizer.get_vocab_size(), **_SIZES, num_key_value_heads=2, head_dim=16,
        max_position_embeddings=256, sliding_window=16, layer_types=["sliding_attention", "full_attention"],
        bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    _save(transformers.Gemma3ForCausalLM(config), folder, louder=10)


# --- encoder-decoder ---------------------------------------------------------------------------------------------


def t5(folder: Path) -> None:
    tokenizer = sentence_piece_like(folder, ["<pad>", "</s>", "<unk>"], eos_token="</s>", pad_token="<pad>",
                                    unk_token="<unk>", model_max_length=512)  # fmt: skip
    config = transformers.T5Config(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=0, eos_token_id=1, pad_token_id=0, tie_word_embeddings=False, initializer_factor=3.0,
    )  # fmt: skip
    _save(transformers.T5ForConditionalGeneration(config), folder, louder=2)


def bart(folder: Path) -> None:
    """Beams, a forced first token and minimum length by default, as summarisation models have."""
    tokenizer = byte_level(folder, ["<s>", "<pad>", "</s>", "<unk>"], bos_token="<s>", eos_token="</s>",
                           pad_token="<pad>", unk_token="<unk>")  # fmt: skip
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.BartConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
        max_position_embeddings=64, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    _save(transformers.BartForConditionalGeneration(config), folder, louder=20)
    change_json(folder / "generation_config.json", num_beams=3, length_penalty=2.0, min_length=8, max_length=24,
                no_repeat_ngram_size=3, forced_bos_token_id=0, forced_eos_token_id=2, early_stopping=True)  # fmt: skip


def marian(folder: Path) -> None:
    """Two SentencePiece models and a joint vocabulary; beams, a forbidden token and a forced last token."""
    import sentencepiece

    text = folder / "corpus.txt"
    text.write_text("\n".join(CORPUS), encoding="utf-8")
    for name in ("source", "target"):
        sentencepiece.SentencePieceTrainer.Train(
            input=str(text), model_prefix=str(folder / name), vocab_size=180, character_coverage=1.0,
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
    source = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = [source.id_to_piece(number) for number in range(source.get_piece_size())]
    words = ["</s>", "<unk>", *(piece for piece in pieces if piece not in ("<unk>", "<s>", "</s>")), ">>fra<<", "<pad>"]
    write_json(folder / "vocab.json", {piece: number for number, piece in enumerate(words)})
    write_json(folder / "tokenizer_config.json", {"source_lang": "en", "target_lang": "fr"})
    pad = len(words) - 1
    config = transformers.MarianConfig(
        vocab_size=len(words), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
        pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad, decoder_vocab_size=len(words),
        share_encoder_decoder_embeddings=True, static_position_embeddings=True, scale_embedding=True,
        init_std=0.5,
    )  # fmt: skip
    _save(transformers.MarianMTModel(config), folder, louder=2)
    change_json(folder / "generation_config.json", num_beams=4, max_length=20, bad_words_ids=[[pad]],
                forced_eos_token_id=0, renormalize_logits=True)  # fmt: skip


# --- encoders ----------------------------------------------------------------------------------------------------

_LABELS = {"id2label": {0: "negative", 1: "neutral", 2: "positive"},
           "label2id": {"negative": 0, "neutral": 1, "positive": 2}}  # fmt: skip


def bert_classifier(folder: Path) -> None:
    tokenizer = word_piece(folder, model_max_length=64)
    config = transformers.BertConfig(vocab_size=tokenizer.get_vocab_size(), **_SIZES, max_position_embeddings=64,
                                     pad_token_id=0, **_LABELS)  # fmt: skip
    _save(transformers.BertForSequenceClassification(config), folder, louder=8)


def distilbert_classifier(folder: Path) -> None:
    """Two labels that may both hold, without names."""
    tokenizer = word_piece(folder)
    config = transformers.DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(), dim=32, n_layers=2, n_heads=4, hidden_dim=64,
        max_position_embeddings=64, pad_token_id=0, problem_type="multi_label_classification", num_labels=2,
    )  # fmt: skip
    _save(transformers.DistilBertForSequenceClassification(config), folder, louder=8)


def roberta_classifier(folder: Path) -> None:
    """One number for a pair of texts, as models that rank search results have."""
    tokenizer = byte_level(folder, ["<s>", "<pad>", "</s>", "<unk>"], bos_token="<s>", eos_token="</s>",
                           cls_token="<s>", sep_token="</s>", pad_token="<pad>")  # fmt: skip
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), **_SIZES, max_position_embeddings=66, type_vocab_size=1,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, num_labels=1,
    )  # fmt: skip
    _save(transformers.RobertaForSequenceClassification(config), folder, louder=8)


def bart_classifier(folder: Path) -> None:
    bart(folder)
    config = transformers.BartConfig.from_pretrained(folder, **_LABELS)
    (folder / "generation_config.json").unlink()
    _save(transformers.BartForSequenceClassification(config), folder, louder=8)


def sentence_transformer(folder: Path) -> None:
    """A sentence-transformers model as MiniLM is: pooling, a dense layer, normalisation, its own length limit."""
    from safetensors.torch import save_file

    tokenizer = word_piece(folder, model_max_length=64)
    tokenizer.enable_truncation(5)  # what a training run left behind, and nobody wants
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.BertConfig(vocab_size=tokenizer.get_vocab_size(), **_SIZES, max_position_embeddings=64)
    _save(transformers.BertModel(config), folder)
    steps = ["Transformer", "Pooling", "Dense", "Normalize"]
    write_json(folder / "modules.json", [
        {"idx": index, "name": str(index), "path": "" if index == 0 else f"{index}_{step}",
         "type": f"sentence_transformers.models.{step}"}
        for index, step in enumerate(steps)
    ])  # fmt: skip
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    for step in ("1_Pooling", "2_Dense"):
        (folder / step).mkdir()
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    write_json(folder / "2_Dense/config.json",
               {"in_features": 32, "out_features": 16, "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh"})  # fmt: skip
    save_file({"linear.weight": torch.randn(16, 32), "linear.bias": torch.randn(16)},
              folder / "2_Dense/model.safetensors")  # fmt: skip
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "search: ", "document": ""}})


BUILDERS: dict[str, Callable[[Path], None]] = {
    builder.__name__: builder
    for builder in (llama, qwen2, gemma3, t5, bart, marian, bert_classifier, distilbert_classifier, roberta_classifier,
                    bart_classifier, sentence_transformer)
}  # fmt: skip
