"""Usage blocks of OpenAI, Azure, Anthropic and DeepSeek, each with its page, prices, and cost by hand.

Where a block was recorded the date is that of the answer, else of the page. Prices are USD per million
tokens, so tokens × price is millionths of a dollar, a thousand nano-dollars each. They are the list prices
of that host and time where it has any. `worked` names each line of the bill; `nusd` is its sum.
"""

from __future__ import annotations

from tests.wire.usage_block import Block, prices

MAKERS = (
    # OpenAI, chat completions and embeddings
    Block(
        "OpenAI chat, cached prompt",
        "https://platform.openai.com/docs/guides/prompt-caching",
        "2026-11",
        '{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,'
        '"prompt_tokens_details":{"cached_tokens":1920},'
        '"completion_tokens_details":{"reasoning_tokens":0}}',
        prices("2.50", "10", cached="1.25"),
        "86×2.50 + 1920×1.25 + 300×10",
        5_615_000,
    ),
    Block(
        "OpenAI chat, recorded from gpt-4.1-nano",
        "github.com/vercel/ai, packages/openai/src/chat/__fixtures__/openai-text.json",
        "2026-02-12",
        '{"prompt_tokens":16,"completion_tokens":363,"total_tokens":379,'
        '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}',
        prices("0.10", "0.40", cached="0.025"),
        "16×0.10 + 363×0.40",
        146_800,
    ),
    Block(
        "OpenAI chat, the reference's example",
        "https://platform.openai.com/docs/api-reference/chat/object",
        "2026-11",
        '{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,'
        '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}',
        prices("2.50", "10", cached="1.25"),
        "19×2.50 + 10×10",
        147_500,
    ),
    Block(
        "OpenAI embeddings",
        "https://platform.openai.com/docs/api-reference/embeddings/create",
        "2026-11",
        '{"prompt_tokens":8,"total_tokens":8}',
        prices("0.02", "0"),
        "8×0.02",
        160,
    ),
    Block(
        "Azure OpenAI chat, reasoning and cached prompt",
        "https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/prompt-caching",
        "2026-11",
        '{"completion_tokens":1518,"prompt_tokens":1566,"total_tokens":3084,'
        '"completion_tokens_details":{"audio_tokens":null,"reasoning_tokens":576},'
        '"prompt_tokens_details":{"audio_tokens":null,"cached_tokens":1408}}',
        prices("15", "60", cached="7.50"),
        "158×15 + 1408×7.50 + 942×60 + 576×60",
        104_010_000,
    ),
    Block(
        "Azure, DeepSeek V4 Pro: reasoning that is not told apart",
        "github.com/vercel/ai, packages/azure/src/__fixtures__/azure-deepseek-reasoning.1.json",
        "2026-06-09",
        '{"prompt_tokens":19,"completion_tokens":1969,"total_tokens":1988,"audio_prompt_tokens":0}',
        prices("1.32", "3.96", cached="0.044"),
        "19×1.32 + 1969×3.96",
        7_822_320,
    ),
    # OpenAI, responses
    Block(
        "OpenAI responses, the reference's example",
        "https://platform.openai.com/docs/api-reference/responses/object",
        "2026-11",
        '{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87,'
        '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":123}',
        prices("2.50", "10", cached="1.25"),
        "36×2.50 + 87×10",
        960_000,
    ),
    Block(
        "OpenAI responses, recorded from gpt-5.6-sol",
        "github.com/vercel/ai, packages/openai/src/responses/__fixtures__/"
        "issue-19921-prompt-cache-breakpoint.json",
        "2026-08-28",
        '{"input_tokens":41,"input_tokens_details":{"cache_write_tokens":0,"cached_tokens":0},'
        '"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":46}',
        prices("4", "20", cached="0.40", write="5"),
        "41×4 + 5×20",
        264_000,
    ),
    Block(
        "Azure responses, recorded from gpt-5.1",
        "github.com/vercel/ai, packages/azure/src/__fixtures__/azure-text.1.json",
        "2026-02-11",
        '{"input_tokens":11,"input_tokens_details":{"cached_tokens":0},"output_tokens":11,'
        '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":22}',
        prices("1.25", "10", cached="0.125"),
        "11×1.25 + 11×10",
        123_750,
    ),
    Block(
        "DeepSeek responses, recorded with reasoning",
        "github.com/vercel/ai, packages/deepseek/src/responses/__fixtures__/deepseek-reasoning.json",
        "2026-08-15",
        '{"input_tokens":18,"input_tokens_details":{"cached_tokens":0},"output_tokens":206,'
        '"output_tokens_details":{"reasoning_tokens":188},"total_tokens":224}',
        prices("0.30", "1.20", cached="0.006"),
        "18×0.30 + 18×1.20 + 188×1.20",
        252_600,
    ),
    # Anthropic, messages
    Block(
        "Anthropic, no cache",
        "github.com/vercel/ai, packages/anthropic/src/__fixtures__/anthropic-text.json",
        "2026-05",
        '{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
        '"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},'
        '"output_tokens":5,"service_tier":"standard"}',
        prices("5", "25", cached="0.50", write="6.25", write_1h="10"),
        "10×5 + 5×25",
        175_000,
    ),
    Block(
        "Anthropic, thinking, recorded from Opus 5",
        "github.com/vercel/ai, packages/anthropic/src/__fixtures__/"
        "anthropic-claude-opus-5-reasoning-high.1.json",
        "2026-08",
        '{"input_tokens":51,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
        '"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},'
        '"output_tokens":1699,"output_tokens_details":{"thinking_tokens":139},'
        '"service_tier":"standard","inference_geo":"global"}',
        prices("5", "25", cached="0.50", write="6.25", write_1h="10"),
        "51×5 + 1560×25 + 139×25",
        42_730_000,
    ),
    Block(
        "Anthropic, thinking and a tool call, recorded from Sonnet 4.6",
        "github.com/vercel/ai, packages/anthropic/src/__fixtures__/issue-13430-thinking-tool-call.json",
        "2026-11",
        '{"input_tokens":599,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
        '"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},'
        '"output_tokens":59,"output_tokens_details":{"thinking_tokens":18},'
        '"service_tier":"standard","inference_geo":"global"}',
        prices("3", "15", cached="0.30", write="3.75", write_1h="6"),
        "599×3 + 41×15 + 18×15",
        2_682_000,
    ),
    Block(
        "Anthropic, written to the cache for 5 minutes",
        "https://github.com/get-convex/agent/issues/191",
        "2025-11-27",
        '{"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":46209},'
        '"cache_creation_input_tokens":46209,"cache_read_input_tokens":0,"input_tokens":337,'
        '"output_tokens":342,"service_tier":"standard"}',
        prices("3", "15", cached="0.30", write="3.75", write_1h="6"),
        "337×3 + 46209×3.75 + 342×15",
        179_424_750,
    ),
    Block(
        "Anthropic, a book written to the cache",
        "https://docs.aihubmix.com/en/api/Claude-Cache",
        "2026-11",
        '{"cache_creation_input_tokens":188086,"cache_read_input_tokens":0,"input_tokens":21,'
        '"output_tokens":393}',
        prices("15", "75", cached="1.50", write="18.75", write_1h="30"),
        "21×15 + 188086×18.75 + 393×75",
        3_556_402_500,
    ),
    Block(
        "Anthropic, the book read from the cache",
        "https://docs.aihubmix.com/en/api/Claude-Cache",
        "2026-11",
        '{"cache_creation_input_tokens":0,"cache_read_input_tokens":188086,"input_tokens":21,'
        '"output_tokens":393}',
        prices("15", "75", cached="1.50", write="18.75", write_1h="30"),
        "21×15 + 188086×1.50 + 393×75",
        311_919_000,
    ),
    Block(
        "Anthropic, the guide's example of both caches: its sum is less than its parts",
        "https://platform.claude.com/docs/en/build-with-claude/prompt-caching",
        "2026-11",
        '{"input_tokens":2048,"cache_read_input_tokens":1800,"cache_creation_input_tokens":248,'
        '"output_tokens":503,"cache_creation":{"ephemeral_5m_input_tokens":456,'
        '"ephemeral_1h_input_tokens":100}}',
        prices("3", "15", cached="0.30", write="3.75", write_1h="6"),
        "2048×3 + 1800×0.30 + 456×3.75 + 100×6 + 503×15",
        16_539_000,
        odd=True,
    ),
    Block(
        "Anthropic behind a proxy: two conventions in one block",
        "https://github.com/BerriAI/litellm/issues/15056",
        "2025-09-30",
        '{"completion_tokens":467,"prompt_tokens":31,"total_tokens":498,'
        '"prompt_tokens_details":{"cached_tokens":0},"cache_creation_input_tokens":1253,'
        '"cache_read_input_tokens":0}',
        prices("3", "15", cached="0.30", write="3.75", write_1h="6"),
        "31×3 + 1253×3.75 + 467×15",
        11_796_750,
        odd=True,
    ),
    Block(
        "an engine of one's own with Anthropic's interface",
        "https://github.com/jundot/omlx/issues/912",
        "2026-04-23",
        '{"input_tokens":24,"output_tokens":308,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}',
        prices("0.10", "0.40"),
        "24×0.10 + 308×0.40",
        125_600,
    ),
    # DeepSeek
    Block(
        "DeepSeek, recorded from V4 Flash",
        "github.com/vercel/ai, packages/deepseek/src/chat/__fixtures__/deepseek-text.json",
        "2026-08-15",
        '{"prompt_tokens":22,"completion_tokens":93,"total_tokens":115,'
        '"prompt_tokens_details":{"cached_tokens":0},"prompt_cache_hit_tokens":0,'
        '"prompt_cache_miss_tokens":22}',
        prices("0.30", "1.20", cached="0.006"),
        "22×0.30 + 93×1.20",
        118_200,
    ),
    Block(
        "DeepSeek, nothing but reasoning",
        "github.com/vercel/ai, packages/deepseek/src/chat/__fixtures__/issue-19789-live-usage.json",
        "2026-08",
        '{"prompt_tokens":88,"completion_tokens":4,"total_tokens":92,'
        '"prompt_tokens_details":{"cached_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":4},"prompt_cache_hit_tokens":0,'
        '"prompt_cache_miss_tokens":88}',
        prices("0.30", "1.20", cached="0.006"),
        "88×0.30 + 4×1.20",
        31_200,
    ),
    Block(
        "DeepSeek, a tool call with reasoning",
        "github.com/vercel/ai, packages/deepseek/src/chat/__fixtures__/deepseek-tool-call.json",
        "2026-08-15",
        '{"prompt_tokens":374,"completion_tokens":60,"total_tokens":434,'
        '"prompt_tokens_details":{"cached_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":16},"prompt_cache_hit_tokens":0,'
        '"prompt_cache_miss_tokens":374}',
        prices("0.30", "1.20", cached="0.006"),
        "374×0.30 + 44×1.20 + 16×1.20",
        184_200,
    ),
    Block(
        "DeepSeek, as in 2024",
        "https://github.com/BerriAI/litellm/issues/5017",
        "2024-08-02",
        '{"completion_tokens":40,"prompt_tokens":11,"total_tokens":51,'
        '"prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":11}',
        prices("0.14", "0.28", cached="0.014"),
        "11×0.14 + 40×0.28",
        12_740,
    ),
    Block(
        "DeepSeek, cache hits, at the price of R1 in 2025",
        "https://github.com/mozilla-ai/any-llm/issues/795",
        "2026-02-02",
        '{"prompt_tokens":100,"prompt_cache_hit_tokens":80,"prompt_cache_miss_tokens":20,'
        '"completion_tokens":50,"total_tokens":150}',
        prices("0.55", "2.19", cached="0.14"),
        "20×0.55 + 80×0.14 + 50×2.19",
        131_700,
    ),
)
