"""Answers that follow instructions and answers that do not: name -> (arguments, following, not following)."""

from __future__ import annotations

from typing import Any

Group = tuple[dict[str, Any], list[str], list[str]]

ENGLISH_ONLY = {"change_case:english_capital", "change_case:english_lowercase"}
"""These ask for English, so that no Chinese answer follows them."""

CASES: dict[str, list[Group]] = {
    "keywords:existence": [
        ({"keywords": ["cat", "Mouse"]}, ["The cat saw a mouse.", "Cats and MOUSETRAPS"], ["The cat slept.", "mouse"]),
        (
            {"keywords": ["人工智能", "未来"]},
            ["人工智能改变未来。", "未来属于人工智能"],
            ["人工智能很好。", "未来很好"],
        ),
    ],
    "keywords:frequency": [
        (
            {"keyword": "dog", "frequency": 2, "relation": "at least"},
            ["Dog eats dog.", "dogs, dogs, dogs"],
            ["One dog.", "No animal here."],
        ),
        (
            {"keyword": "dog", "frequency": 2, "relation": "less than"},
            ["One dog.", "None."],
            ["dog dog", "Dog, DOG, dog"],
        ),
        (
            {"keyword": "春天", "frequency": 2, "relation": "至少"},
            ["春天来了，春天真好。", "春天春天春天"],
            ["春天来了。", "夏天来了。"],
        ),
    ],
    "keywords:forbidden_words": [
        (
            {"forbidden_words": ["can", "ride"]},
            ["A canoe on the river.", "Proud riders walk."],
            ["I can do it.", "We Ride at dawn!"],
        ),
        ({"forbidden_words": ["AI"]}, ["他说AIR是空气", "人工的东西"], ["用AI做事", "这是ai。"]),
        ({"forbidden_words": ["但是", "困难"]}, ["不过没关系。", "很难，可我愿意。"], ["但是没关系。", "面对困难时"]),
    ],
    "keywords:letter_frequency": [
        (
            {"letter": "e", "let_frequency": 3, "let_relation": "at least"},
            ["Elephants eat.", "eee"],
            ["A cat ate.", "no"],
        ),
        ({"letter": "!", "let_frequency": 2, "let_relation": "less than"}, ["Hello!", "Hello"], ["Hi!!", "Oh! No!"]),
        (
            {"letter": "的", "let_frequency": 2, "let_relation": "at least"},
            ["我的书是红的。", "的的的"],
            ["我的书。", "没有。"],
        ),
    ],
    "language:response_language": [
        (
            {"language": "de"},
            [
                "Der Hund läuft heute sehr schnell über die Straße nach Hause.",
                "Ich möchte gern ein Brot und etwas Käse kaufen.",
            ],
            ["The dog runs home very quickly across the street today.", "今天的天气非常好，我们去公园吧。"],
        ),
        (
            {"language": "en"},
            ["The dog runs home very quickly today.", "I WOULD LIKE TO BUY SOME BREAD AND CHEESE."],
            ["El perro corre muy rápido hacia su casa hoy.", "12345"],
        ),
        (
            {"language": "zh-cn"},
            ["今天的天气非常好，我们一起去公园散步。", "人工智能正在改变我们的生活方式。"],
            ["The weather is very nice today in the park.", "今日はとても天気がいいので公園に行きましょう。"],
        ),
        ({"language": "en"}, [], ["这句话全部是用中文写成的。", "请用英文回答，我却用了中文。"]),
    ],
    "length_constraints:number_words": [
        (
            {"num_words": 4, "relation": "at least"},
            ["one two three four", "It's fine, isn't it?"],
            ["one two", "a b c"],
        ),
        (
            {"num_words": 4, "relation": "less than"},
            ["one two three", "Word."],
            ["a b c d", "one, two, three, four, five"],
        ),
        (
            {"num_words": 6, "relation": "at least"},
            ["我今天很高兴", "他会用Python写很多程序"],
            ["你好！", "我，很，高，兴。"],
        ),
    ],
    "length_constraints:number_characters": [
        ({"num_characters": 5, "relation": "at least"}, ["abcde", "ab cde"], ["ab cd", "a    b"]),
        ({"num_characters": 5, "relation": "less than"}, ["你好吗？", "好 的"], ["你好，朋友", "今天天气很好"]),
    ],
    "length_constraints:number_sentences": [
        (
            {"num_sentences": 3, "relation": "at least"},
            ["One here. Two here. Three here.", "Why? Because. So it goes!"],
            ["Only one here.", "Mr. Brown met Dr. Smith at 3.30 p.m. on Monday."],
        ),
        (
            {"num_sentences": 3, "relation": "less than"},
            ["One here. Two here.", "One."],
            ["One here. Two here. Three here.", "Yes! No! Well? Fine."],
        ),
        (
            {"num_sentences": 3, "relation": "at least"},
            ["你好。再见！什么？", "第一句。第二句……第三句"],
            ["只有一句；真的只有一句，对吧。", "价格是3.5元。很便宜！"],
        ),
    ],
    "length_constraints:number_paragraphs": [
        (
            {"num_paragraphs": 2},
            ["First.\n***\nSecond.", "***\nFirst.\n\n***\n\nSecond.\n***"],
            ["First.\n\nSecond.", "First.\n***\n\n***\nSecond."],
        ),
        (
            {"num_paragraphs": 2},
            ["第一段。\n***\n第二段。", "第一段。 *** 第二段。"],
            ["第一段。\n\n第二段。", "一\n***\n二\n***\n三"],
        ),
    ],
    "length_constraints:nth_paragraph_first_word": [
        (
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "rock"},
            ["One.\n\nRock, they say.", "One.\n\n\n\n'rock' it is."],
            ["One.\n\nRocks fall.", "One.\n\nrock\n\nthree", "One. rock"],
        ),
        (
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "然而"},
            ["第一段。\n\n然而，事情变了。", "第一段。\n\n“然而”是个词。"],
            ["第一段。\n\n事情然而变了。", "然而。", "一\n\n然而\n\n三"],
        ),
    ],
    "detectable_content:number_placeholders": [
        ({"num_placeholders": 2}, ["Dear [name], come to [place].", "[a] [b] [c]"], ["Dear [name]", "(a) {b}"]),
        (
            {"num_placeholders": 2},
            ["您好【姓名】，地址是[地址]。", "【甲】【乙】【丙】"],
            ["您好【姓名】。", "（甲）《乙》"],
        ),
    ],
    "detectable_content:postscript": [
        ({"postscript_marker": "P.S."}, ["Bye.\nP.S. I forgot", "bye p. s. more"], ["Bye. PS more", "No postscript."]),
        ({"postscript_marker": "P.P.S"}, ["P.S. a\nP.P.S b", "p.p.s. more"], ["P.S. only", "pps"]),
        ({"postscript_marker": "附言"}, ["再见。\n附言：别忘了。", "附言 我会来的"], ["再见。", "又及：别忘了。"]),
        (
            {"postscript_marker": "P.S."},
            ["再见。\nＰ．Ｓ．别忘了", "再见。P.S. 别忘了"],
            ["再见。备注：别忘了", "附言：别忘了"],
        ),
    ],
    "detectable_format:number_bullet_lists": [
        (
            {"num_bullets": 2},
            ["* one\n* two", "List:\n - one\n - two"],
            ["* one", "- a\n- b\n- c", "1. a\n2. b", "**a**\n**b**"],
        ),
        ({"num_bullets": 2}, ["* 第一\n* 第二", "要点：\n• 第一点\n• 第二点"], ["- 第一", "一、甲\n二、乙"]),
    ],
    "detectable_format:number_highlighted_sections": [
        ({"num_highlights": 2}, ["*a* and *b*", "**bold one** and **bold two**"], ["*a* only", "** ** and * *"]),
        ({"num_highlights": 2}, ["*重点一*和*重点二*", "**第一**，**第二**"], ["*重点*", "【重点一】【重点二】"]),
    ],
    "detectable_format:multiple_sections": [
        (
            {"section_spliter": "Section", "num_sections": 2},
            ["Section 1\na\nSection 2\nb", "Section1 Section2 Section3"],
            ["Section 1 only", "SECTION 1\nSECTION 2"],
        ),
        (
            {"section_spliter": "部分", "num_sections": 2},
            ["第一部分\n甲\n第二部分\n乙", "部分1：甲\n部分2：乙"],
            ["第一部分", "部分甲和部分乙"],
        ),
    ],
    "detectable_format:json_format": [
        ({}, ['{"a": 1}', '```json\n{"a": [1, 2]}\n```', "[1]"], ["{'a': 1}", 'Here: {"a": 1}', '{"a": 1']),
        ({}, ['{"名字": "小明"}', '```\n["甲", "乙"]\n```'], ["名字：小明", "{“名字”：“小明”}"]),
    ],
    "detectable_format:title": [
        ({}, ["<<A Day>>\ntext", "text <<x>>"], ["<A Day>", "<<>>", "<<a\nb>>"]),
        ({}, ["<<春天>>\n正文", "《《春天》》\n正文"], ["《春天》\n正文", "标题：春天"]),
    ],
    "detectable_format:constrained_response": [
        ({}, ["My answer is yes.", "Well: My answer is maybe."], ["Yes.", "My answer is yes", "my answer is no."]),
        ({}, ["我的答案是是。", "我想了想，我的回答是：不确定。"], ["是的。", "我的答案是星期一。"]),
    ],
    "combination:two_responses": [
        (
            {},
            ["One.\n******\nTwo.", "******\nOne.\n******\nTwo."],
            ["One.\n***\nTwo.", "Same.\n******\nSame.", "a******b******c"],
        ),
        ({}, ["回答一。\n******\n回答二。", "甲******乙******"], ["只有一个回答。", "甲******甲"]),
    ],
    "combination:repeat_prompt": [
        (
            {"prompt_to_repeat": "Write a poem."},
            ["Write a poem. Roses are red.", " WRITE A POEM.\nRoses"],
            ["Here: Write a poem.", "Write a song."],
        ),
        (
            {"prompt_to_repeat": "写一首诗。"},
            ["写一首诗。床前明月光", "\n写一首诗。\n好"],
            ["好的，写一首诗。", "写一首歌。"],
        ),
    ],
    "startend:end_checker": [
        (
            {"end_phrase": "That is all."},
            ["So it goes. That is all.", 'He said "THAT IS ALL."\n'],
            ["That is all. Bye.", "That is all"],
        ),
        ({"end_phrase": "就是这样。"}, ["我说完了，就是这样。", "“就是这样。”"], ["就是这样。再见。", "就是这样"]),
    ],
    "startend:quotation": [
        ({}, ['"All of it."', ' "a" and "b" '], ["'All of it.'", '"All of it.', "“All of it.”", '"']),
        ({}, ["“全部都在引号里。”", '"全部都在引号里。"', "「全部」"], ["全部都在引号里。", "“只有开头", "‘全部’"]),
    ],
    "change_case:english_capital": [
        (
            {},
            ["THE DOG RAN HOME QUICKLY THROUGH THE RAIN.", "THIS IS WRITTEN IN CAPITALS, ALL 26 OF THEM!"],
            ["The dog ran home quickly.", "DER HUND LÄUFT SCHNELL ÜBER DIE STRASSE NACH HAUSE."],
        ),
        ({}, [], ["今天天气很好。", "今天的天气非常好 OK"]),
    ],
    "change_case:english_lowercase": [
        (
            {},
            ["the dog ran home quickly through the rain.", "this is written in small letters, all 26 of them!"],
            ["The dog ran home quickly.", "der hund läuft schnell über die straße nach hause."],
        ),
        ({}, [], ["今天天气很好。", "今天的天气非常好，我们都很 happy"]),
    ],
    "change_case:capital_word_frequency": [
        (
            {"capital_frequency": 2, "capital_relation": "at least"},
            ["NASA and ESA met.", "I SAY NO."],
            ["NASA met others.", "nothing here"],
        ),
        ({"capital_frequency": 2, "capital_relation": "less than"}, ["Only NASA.", "none"], ["NASA, ESA", "A B C"]),
        (
            {"capital_frequency": 2, "capital_relation": "at least"},
            ["使用NASA和ESA的数据", "我爱CPU，也爱GPU。"],
            ["使用NASA的数据", "没有大写字母"],
        ),
    ],
    "punctuation:no_comma": [
        ({}, ["No such mark here.", "One; two: three."], ["Well, yes.", "1,000"]),
        ({}, ["没有这种标点。", "苹果、梨和桃"], ["好的，谢谢。", "好的, 谢谢。"]),
    ],
    "chinese:simplified": [
        ({}, ["我们爱中国。", "他说：OK，没问题。"], ["我們愛中國。", "他說這樣。", "hello", "English only"]),
    ],
    "chinese:traditional": [
        ({}, ["我們愛中國的文化。", "皇后在臺灣的家裡。"], ["我们爱中国。", "这样说。", "hello", "English only"]),
    ],
    "chinese:no_latin_letters": [
        ({}, ["123 + 4 = 127", "!!! ???", "全是汉字。", "数字 123 可以"], ["abc", "Hello", "我用 Python", "Ａ级"]),
    ],
    "chinese:full_width_punctuation": [
        ({}, ["好的，谢谢！", "圆周率是3.14，不是3。"], ["好的,谢谢!", "好的 谢谢", "Fine, thanks.", "no marks"]),
    ],
}
