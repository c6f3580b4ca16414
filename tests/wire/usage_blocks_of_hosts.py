"""Usage blocks of hosts and engines of others' models, each with its page, prices, and cost by hand.

Where a block was recorded the date is that of the answer, else of the page. Prices are USD per million
tokens, so tokens × price is millionths of a dollar, a thousand nano-dollars each. They are the list prices
of that host and time where it has any. `worked` names each line of the bill; `nusd` is its sum.
"""

from __future__ import annotations

from tests.wire.usage_block import Block, prices

HOSTS = (
    # OpenRouter, which says what it billed
    Block(
        "OpenRouter, recorded from gpt-5-mini",
        "github.com/pydantic/pydantic-ai, tests/models/cassettes/test_openrouter/test_openrouter_usage.yaml",
        "2026-02-02",
        '{"completion_tokens":1763,"completion_tokens_details":{"image_tokens":0,'
        '"reasoning_tokens":832},"cost":0.00353025,'
        '"cost_details":{"upstream_inference_completions_cost":0.003526,'
        '"upstream_inference_cost":0.00353025,"upstream_inference_prompt_cost":4.25e-06},'
        '"is_byok":false,"prompt_tokens":17,"prompt_tokens_details":{"cached_tokens":0},'
        '"total_tokens":1780}',
        prices("0.25", "2", cached="0.025"),
        "17×0.25 + 931×2 + 832×2",
        3_530_250,
        billed_usd="0.00353025",
    ),
    Block(
        "OpenRouter, recorded from Kimi K2.5 at Moonshot",
        "github.com/pydantic/pydantic-ai, tests/models/cassettes/test_openrouter/"
        "test_openrouter_kimi_k2_5.yaml",
        "2026-01-27",
        '{"completion_tokens":48,"completion_tokens_details":{"audio_tokens":0,'
        '"reasoning_tokens":42},"cost":0.000156,'
        '"cost_details":{"upstream_inference_completions_cost":0.000144,'
        '"upstream_inference_cost":0.000156,"upstream_inference_prompt_cost":1.2e-05},'
        '"is_byok":false,"prompt_tokens":20,"prompt_tokens_details":{"audio_tokens":0,'
        '"cached_tokens":0},"total_tokens":68}',
        prices("0.60", "3", cached="0.10"),
        "20×0.60 + 6×3 + 42×3",
        156_000,
        billed_usd="0.000156",
    ),
    Block(
        "OpenRouter, the guide's example with cache writes",
        "https://openrouter.ai/docs/use-cases/usage-accounting",
        "2026-11",
        '{"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":0},"cost":0.95,'
        '"cost_details":{"upstream_inference_cost":19},"prompt_tokens":194,'
        '"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":100,"audio_tokens":0},'
        '"total_tokens":196}',
        prices("3", "15", cached="0.30", write="3.75", write_1h="6"),
        "94×3 + 100×3.75 + 2×15",
        687_000,
    ),
    # xAI, which says what it billed, in ten-billionths of a dollar
    Block(
        "xAI chat, reasoning beside the completion, recorded from grok-3-mini",
        "github.com/vercel/ai, packages/xai/src/__fixtures__/xai-tool-call.json",
        "2026-02-11",
        '{"prompt_tokens":291,"completion_tokens":26,"total_tokens":506,'
        '"prompt_tokens_details":{"text_tokens":291,"audio_tokens":0,"image_tokens":0,'
        '"cached_tokens":244},"completion_tokens_details":{"reasoning_tokens":189,'
        '"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},'
        '"num_sources_used":0,"cost_in_usd_ticks":1399000}',
        prices("0.30", "0.50", cached="0.075"),
        "47×0.30 + 244×0.075 + 26×0.50 + 189×0.50",
        139_900,
        billed_usd="0.0001399",
    ),
    Block(
        "xAI responses, with one web search at $5 a thousand, recorded from grok-4.6",
        "github.com/vercel/ai, packages/xai/src/responses/__fixtures__/issue-19652-live-generate.json",
        "2026-08",
        '{"input_tokens":5165,"input_tokens_details":{"cached_tokens":1152},"output_tokens":891,'
        '"output_tokens_details":{"reasoning_tokens":860},"total_tokens":6056,'
        '"num_sources_used":0,"num_server_side_tools_used":1,"cost_in_usd_ticks":189480000,'
        '"server_side_tool_usage_details":{"web_search_calls":1,"x_search_calls":0}}',
        prices("2", "6", cached="0.50", request="0.005"),
        "4013×2 + 1152×0.50 + 31×6 + 860×6 + 1×5000",
        18_948_000,
        billed_usd="0.018948",
    ),
    Block(
        "xAI chat, the guide's example",
        "https://docs.x.ai/developers/advanced-api-usage/prompt-caching/usage-and-pricing",
        "2026-11",
        '{"prompt_tokens":125,"completion_tokens":48,"total_tokens":173,'
        '"prompt_tokens_details":{"text_tokens":125,"audio_tokens":0,"image_tokens":0,'
        '"cached_tokens":98},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}',
        prices("2", "6", cached="0.50"),
        "27×2 + 98×0.50 + 48×6",
        391_000,
    ),
    Block(
        "xAI responses, the guide's example",
        "https://docs.x.ai/developers/advanced-api-usage/prompt-caching/usage-and-pricing",
        "2026-11",
        '{"input_tokens":125,"output_tokens":48,"total_tokens":173,'
        '"input_tokens_details":{"cached_tokens":98},'
        '"output_tokens_details":{"reasoning_tokens":0}}',
        prices("2", "6", cached="0.50"),
        "27×2 + 98×0.50 + 48×6",
        391_000,
    ),
    # Groq
    Block(
        "Groq, reasoning, recorded from qwen3-32b",
        "github.com/vercel/ai, packages/groq/src/__fixtures__/groq-reasoning.json",
        "2026-02-11",
        '{"queue_time":0.335637089,"prompt_tokens":17,"prompt_time":0.000658349,'
        '"completion_tokens":649,"completion_time":1.231022196,"total_tokens":666,'
        '"total_time":1.231680545,"completion_tokens_details":{"reasoning_tokens":570}}',
        prices("0.29", "0.59"),
        "17×0.29 + 79×0.59 + 570×0.59",
        387_840,
    ),
    Block(
        "Groq, a tool call, recorded from Llama 3.3",
        "github.com/vercel/ai, packages/groq/src/__fixtures__/groq-tool-call.json",
        "2026-02-11",
        '{"queue_time":0.179481775,"prompt_tokens":218,"prompt_time":0.01182836,'
        '"completion_tokens":15,"completion_time":0.044602289,"total_tokens":233,'
        '"total_time":0.056430649}',
        prices("0.59", "0.79"),
        "218×0.59 + 15×0.79",
        140_470,
    ),
    Block(
        "Groq, cached prompt",
        "https://console.groq.com/docs/prompt-caching",
        "2026-11",
        '{"queue_time":0.026959759,"prompt_tokens":4641,"prompt_time":0.009995497,'
        '"completion_tokens":1817,"completion_time":5.57691751,"total_tokens":6458,'
        '"total_time":5.586913007,"prompt_tokens_details":{"cached_tokens":4608}}',
        prices("0.15", "0.60", cached="0.075"),
        "33×0.15 + 4608×0.075 + 1817×0.60",
        1_440_750,
    ),
    # Mistral, Moonshot, Together, Fireworks, Nebius
    Block(
        "Mistral, recorded from Small",
        "github.com/vercel/ai, packages/mistral/src/__fixtures__/mistral-usage-raw-live.json",
        "2026-08-27",
        '{"prompt_tokens":19,"total_tokens":21,"completion_tokens":2,'
        '"prompt_tokens_details":{"cached_tokens":0},"service_tier":"standard"}',
        prices("0.15", "0.60", cached="0.015"),
        "19×0.15 + 2×0.60",
        4_050,
    ),
    Block(
        "Moonshot, all cached, recorded from Kimi K3",
        "github.com/vercel/ai, packages/moonshotai/src/__fixtures__/moonshotai-usage-live.json",
        "2026-08-26",
        '{"prompt_tokens":90,"completion_tokens":34,"total_tokens":124,"cached_tokens":90,'
        '"completion_tokens_details":{"reasoning_tokens":17},'
        '"prompt_tokens_details":{"cached_tokens":90}}',
        prices("3", "15", cached="0.30"),
        "90×0.30 + 17×15 + 17×15",
        537_000,
    ),
    Block(
        "Moonshot, all cached, recorded once more",
        "github.com/vercel/ai, packages/moonshotai/src/__fixtures__/issue-19311-kimi-k3-live-2026-08-24.json",
        "2026-08-24",
        '{"prompt_tokens":101,"completion_tokens":32,"total_tokens":133,"cached_tokens":101,'
        '"completion_tokens_details":{"reasoning_tokens":16},'
        '"prompt_tokens_details":{"cached_tokens":101}}',
        prices("3", "15", cached="0.30"),
        "101×0.30 + 16×15 + 16×15",
        510_300,
    ),
    Block(
        "Moonshot, a token more reasoned than completed",
        "github.com/vercel/ai, packages/moonshotai/src/__fixtures__/issue-19311-kimi-k3-negative-usage.json",
        "2026-08-22",
        '{"prompt_tokens":951,"completion_tokens":6000,"total_tokens":6952,'
        '"prompt_tokens_details":{"cached_tokens":60},'
        '"completion_tokens_details":{"reasoning_tokens":6001}}',
        prices("3", "15", cached="0.30"),
        "891×3 + 60×0.30 + 6001×15",
        92_706_000,
        odd=True,
    ),
    Block(
        "Moonshot, cached tokens at the top alone",
        "github.com/vercel/ai, packages/moonshotai/src/__fixtures__/moonshot-cached-tokens.chunks.txt",
        "2026-11",
        '{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"cached_tokens":80}',
        prices("0.60", "3", cached="0.10"),
        "20×0.60 + 80×0.10 + 10×3",
        50_000,
    ),
    Block(
        "Together, recorded from DeepSeek-R1 through Hugging Face",
        "github.com/pydantic/pydantic-ai, tests/models/cassettes/test_huggingface/"
        "test_request_simple_usage.yaml",
        "2026-01-27",
        '{"cached_tokens":0,"completion_tokens":258,"prompt_tokens":4,"total_tokens":262}',
        prices("3", "7"),
        "4×3 + 258×7",
        1_818_000,
    ),
    Block(
        "Nebius, recorded from DeepSeek-R1-0528 through Hugging Face",
        "github.com/pydantic/pydantic-ai, tests/models/cassettes/test_huggingface/"
        "test_max_completion_tokens[deepseek-ai-DeepSeek-R1-0528].yaml",
        "2025-07-09",
        '{"completion_tokens":165,"completion_tokens_details":null,"prompt_tokens":6,'
        '"prompt_tokens_details":null,"total_tokens":171}',
        prices("0.80", "2.40"),
        "6×0.80 + 165×2.40",
        400_800,
    ),
    Block(
        "Fireworks responses, which keep the names of chat",
        "https://docs.fireworks.ai/guides/response-api",
        "2025-11-08",
        '{"prompt_tokens":15,"completion_tokens":8,"total_tokens":23}',
        prices("0.22", "0.88"),
        "15×0.22 + 8×0.88",
        10_340,
    ),
    # Google, through OpenAI's interface: thoughts are in the total alone
    Block(
        "Gemini, thoughts told apart",
        "https://github.com/router-for-me/CLIProxyAPI/issues/5733",
        "2026-09-11",
        '{"completion_tokens":0,"total_tokens":81,"prompt_tokens":21,'
        '"completion_tokens_details":{"reasoning_tokens":60}}',
        prices("0.30", "2.50", cached="0.03"),
        "21×0.30 + 60×2.50",
        156_300,
    ),
    Block(
        "Gemini, 405 thoughts that only the total tells",
        "https://github.com/mozilla-ai/any-llm/issues/1290",
        "2026-08-16",
        '{"prompt_tokens":20,"completion_tokens":198,"total_tokens":623}',
        prices("0.30", "2.50", cached="0.03"),
        "20×0.30 + 603×2.50",
        1_513_500,
        odd=True,
    ),
    Block(
        "Gemini, 382 thoughts that only the total tells",
        "https://github.com/mozilla-ai/any-llm/pull/1291",
        "2026-08-16",
        '{"prompt_tokens":20,"completion_tokens":151,"total_tokens":553}',
        prices("0.30", "2.50", cached="0.03"),
        "20×0.30 + 533×2.50",
        1_338_500,
        odd=True,
    ),
    # engines on machines of one's own, at prices of one's own
    Block(
        "vLLM, started to report the cache",
        "https://github.com/vllm-project/vllm/issues/16162",
        "2025-04-07",
        '{"completion_tokens":73,"prompt_tokens":24,"total_tokens":97,'
        '"completion_tokens_details":null,"prompt_tokens_details":{"audio_tokens":null,'
        '"cached_tokens":16}}',
        prices("0.10", "0.40", cached="0.05"),
        "8×0.10 + 16×0.05 + 73×0.40",
        30_800,
    ),
    Block(
        "vLLM, 99 % from the cache and not a word of it",
        "https://github.com/vllm-project/vllm-ascend/issues/9030",
        "2026-05-09",
        '{"prompt_tokens":25,"total_tokens":1049,"completion_tokens":1024,'
        '"prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":428}}',
        prices("0.30", "1.20", cached="0.03"),
        "25×0.30 + 596×1.20 + 428×1.20",
        1_236_300,
    ),
    Block(
        "vLLM, first chunk of continuous usage",
        "https://github.com/vllm-project/vllm/pull/44475",
        "2026-06-04",
        '{"prompt_tokens":15,"total_tokens":15,"completion_tokens":0,'
        '"prompt_tokens_details":{"cached_tokens":0,"cached_rate":0.0}}',
        prices("0.10", "0.40", cached="0.05"),
        "15×0.10",
        1_500,
    ),
    Block(
        "vLLM, last chunk of continuous usage, at half nano-dollars that are rounded up",
        "https://github.com/vllm-project/vllm/pull/44475",
        "2026-06-04",
        '{"prompt_tokens":15,"total_tokens":25,"completion_tokens":10,'
        '"prompt_tokens_details":{"cached_tokens":0,"cached_rate":0.0}}',
        prices("0.0375", "0.15"),
        "15×0.0375 + 10×0.15",
        2_063,
    ),
    Block(
        "SGLang, a warm request",
        "https://github.com/ai-dynamo/dynamo/pull/10925",
        "2026-06-24",
        '{"completion_tokens":4,"prompt_tokens":516,"prompt_tokens_details":{"audio_tokens":null,'
        '"cached_tokens":512},"total_tokens":520}',
        prices("0.10", "0.40", cached="0.05"),
        "4×0.10 + 512×0.05 + 4×0.40",
        27_600,
    ),
    Block(
        "SGLang, the same before it reported the cache",
        "https://github.com/ai-dynamo/dynamo/pull/10925",
        "2026-06-24",
        '{"completion_tokens":4,"prompt_tokens":516,"total_tokens":520}',
        prices("0.10", "0.40", cached="0.05"),
        "516×0.10 + 4×0.40",
        53_200,
    ),
    Block(
        "llama.cpp, a usage block",
        "tests/wire/recordings/llama_cpp_chat.json",
        "2026-11",
        '{"completion_tokens":3,"prompt_tokens":31,"total_tokens":34,'
        '"prompt_tokens_details":{"cached_tokens":24}}',
        prices("0.02", "0.06", cached="0.01"),
        "7×0.02 + 24×0.01 + 3×0.06",
        560,
    ),
    Block(
        "llama.cpp, timings alone",
        "tests/wire/recordings/llama_cpp_chat_timings.sse",
        "2026-11",
        '{"cache_n":35,"prompt_n":1,"prompt_ms":7.616,"prompt_per_token_ms":7.616,'
        '"prompt_per_second":131.30252100840337,"predicted_n":3,"predicted_ms":14.461,'
        '"predicted_per_token_ms":7.2305,"predicted_per_second":138.30302192102897}',
        prices("0.02", "0.06", cached="0.01"),
        "1×0.02 + 35×0.01 + 3×0.06",
        550,
    ),
    Block(
        "llama.cpp, timings of a long conversation",
        "https://github.com/ggml-org/llama.cpp/pull/15827",
        "2025-09-06",
        '{"cache_n":236,"prompt_n":1,"prompt_ms":30.958,"prompt_per_token_ms":30.958,'
        '"prompt_per_second":32.301828283480845,"predicted_n":35,"predicted_ms":661.064,'
        '"predicted_per_token_ms":18.887542857142858,"predicted_per_second":52.94494935437416}',
        prices("0.02", "0.06", cached="0.01"),
        "1×0.02 + 236×0.01 + 35×0.06",
        4_480,
    ),
    Block(
        "llama.cpp, usage beside timings",
        "https://github.com/netclaw-dev/netclaw/issues/614",
        "2026-04-12",
        '{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}',
        prices("0.02", "0.06", cached="0.01"),
        "11×0.02 + 5×0.06",
        520,
    ),
)
