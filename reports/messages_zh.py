"""What reports say, in Chinese: the English sentence is the key (see :mod:`reports.messages`).

Names that appear in results files, grades among them, stay as they are; terms are those of ``docs/glossary.md``.
"""

ZH: dict[str, str] = {
    # Punctuation between parts of a sentence
    ".": "。",
    ", ": "，",
    "; ": "；",
    ": ": "：",
    ":": "：",
    # Counts
    "{n} build": "{n} 个构建",
    "{n} call": "{n} 次抽取的调用",
    "{n} case": "{n} 个用例",
    "{n} core": "{n} 个核",
    "{n} element": "{n} 个元素",
    "{n} failing case": "{n} 个未通过的用例",
    "{n} input space": "{n} 个输入空间",
    "{n} invocation": "{n} 次调用",
    "{n} point": "{n} 个点",
    "{n} required entry point": "{n} 个必测入口",
    "{part} of {whole}": "{part} / {whole}",
    "{shown} of {all} rows": "显示 {shown} / {all} 行",
    " ({shown} of {all} shown)": "（共 {all} 个，列出 {shown} 个）",
    "{cases}, {elements}, {failing}": "{cases}，{elements}，{failing}",
    "{count} fail": "{count}未通过",
    "{count} failing": "{count} 个超出误差界",
    "{count} misrounded": "{count} 个未正确舍入",
    "{count} other legal": "{count} 个其他合法结果",
    "{share} correctly rounded": "{share} 正确舍入",
    # Titles and columns
    "Accuracy matrix": "精度矩阵",
    "Accuracy matrix (max ulp and grade)": "精度矩阵（最大误差 ulp 与等级）",
    "Accuracy of {builds}": "{builds}的精度",
    "Accuracy over {spaces}": "{spaces}上的精度",
    "Also": "另外",
    "Assumed by the profile, stated nowhere": "文档未写明、由平台配置假设的内容",
    "Bad elements": "不合格元素",
    "Bias ulp": "偏差 ulp",
    "Broken in": "违反",
    "Build": "构建",
    "Builds, fewest failures first": "各构建，失败最少者在前",
    "Built for": "目标体系结构",
    "By": "违反者",
    "By scalars": "按标量分组",
    "Case": "用例",
    "Case [element]": "用例 [元素]",
    "Cases": "用例",
    "Checked": "检查次数",
    "Class": "类别",
    "Class {klass}, case {case}": "类别 {klass}，用例 {case}",
    "Classes of cases": "用例类别",
    "Compiler": "编译器",
    "Computed": "计算范围",
    "Contract": "约定",
    "Contracts checked": "已检查的约定",
    "Demands": "要求",
    "Digest of {file}": "{file} 的摘要",
    "Element {index}": "元素 {index}",
    "Elements": "元素",
    "Elements by verdict class": "元素按判定类别的占比",
    "Entry point": "入口",
    "Entry points": "入口",
    "Error (ulp)": "误差（ulp）",
    "Expected": "期望值",
    "Failing": "超出误差界",
    "Failing cases": "未通过的用例",
    "Failing entry points": "未通过的入口",
    "Filter by symbol, operator, group, class or kind of failure": "按符号、算子、分组、类别或失败种类筛选",
    "Filter entry points": "筛选入口",
    "Filter: symbol, group, class, kind …": "筛选：符号、分组、类别、种类……",
    "Finding": "发现",
    "Findings": "发现",
    "First input outside every legal bound": "第一个超出所有合法误差界的输入",
    "Found by probing": "探测结果",
    "Got": "实际值",
    "Grade": "等级",
    "Grades, best first:": "等级，由好到差：",
    "Group": "分组",
    "Host (judged on, not the platform)": "主机（判定所用，并非目标平台）",
    "How to read this page": "如何阅读本页",
    "Infinity": "无穷",
    "Inputs": "输入",
    "Inputs, expected and got": "输入、期望值与实际值",
    "Kind": "种类",
    "Legal (ulp)": "合法上限（ulp）",
    "Library": "库",
    "Max ulp": "最大 ulp",
    "Mean ulp": "平均 ulp",
    "Message": "说明",
    "Mismatched NaN, infinity and zero (counted apart)": "NaN、无穷与零的类别不符（单独计数）",
    "Misrounded": "未正确舍入",
    "Operator": "算子",
    "Options": "选项",
    "Options set by": "选项来源",
    "Configuration file": "配置文件",
    "Sandbox layers in force": "生效的沙箱层",
    "Seed of what is drawn for a run (--draw)": "本次运行随机内容的种子（--draw）",
    "Judged at (UTC)": "判定时间（UTC）",
    "Order": "次序",
    "Order of evaluation, as found": "探测到的求值次序",
    "Outside every bound": "超出所有误差界",
    "Overflow": "上溢",
    "Passing": "通过",
    "Platform": "平台",
    "Platform profile": "平台配置",
    "Profile of the user’s own": "用户自己的平台配置",
    "Reason": "理由",
    "Run time": "运行时间",
    "Severity": "级别",
    "Show it": "复现命令",
    "Sign of zero (conforms)": "零的符号（符合要求）",
    "Skip to the report": "跳到报告正文",
    "Space": "空间",
    "Stated by the vendor’s pages": "厂商文档写明的内容",
    "Status": "状态",
    "Stress tier (outside documented or realistic ranges; does not decide unless strict)": (
        "压力级（超出文档或实际使用的范围；除非使用 --strict，否则不参与判定）"
    ),
    "Sweeps over whole input spaces": "整个输入空间的扫描",
    "Target": "目标",
    "The build": "该构建",
    "Tier": "级",
    "Vectors": "向量",
    "Verdict": "判定",
    "Verdict classes of elements": "元素的判定类别",
    "What was judged": "判定对象",
    "When broken": "违反时",
    "Who fails and why": "哪些未通过，原因何在",
    "Worst cases": "最差用例",
    "Worst input": "最差输入",
    "Zero": "零",
    "class": "类别",
    "case": "用例",
    "dtype": "精度",
    "element {index}": "元素 {index}",
    "error in ulp": "误差（ulp）",
    "expected": "期望值",
    "expected {expected}, got {got}": "期望 {expected}，实际 {got}",
    "failing only": "只看未通过的",
    "golden version": "golden 版本",
    "got": "实际值",
    "grade": "等级",
    "inputs": "输入",
    "kernel conformance": "核函数一致性",
    "max ulp": "最大 ulp",
    "mean ulp": "平均 ulp",
    "misrounded": "未正确舍入",
    "p99.9 ulp": "99.9 百分位 ulp",
    "sampled vectors": "抽样向量",
    "status": "状态",
    "sweep only": "仅扫描",
    "unfold all": "全部展开",
    "unnamed target": "未命名的目标",
    "|exact value|": "|精确值|",
    "the exact value": "精确值",
    # States
    " (not required by this platform)": "（本平台不要求）",
    " (not required)": "（不要求）",
    "not required": "不要求",
    "conforms": "符合",
    "conforms to": "符合",
    "partial": "部分判定",
    "was judged in part for": "仅部分判定，平台为",
    "{platform} (a selection)": "{platform}（仅选取部分）",
    "fails": "不符合",
    "fails on": "不符合",
    "pass": "通过",
    "passes": "通过",
    "fail": "未通过",
    "crash": "崩溃",
    "crashed": "崩溃",
    "timeout": "超时",
    "timed out": "超时",
    "missing": "缺失",
    "is missing": "缺失",
    "missing: the library does not export it": "缺失：库没有导出该符号",
    "decides": "决定判定结果",
    "remark": "仅作提示",
    "failure": "失败",
    "warning": "警告",
    "info": "信息",
    "shared": "共享存储",
    "private": "私有存储",
    "exhaustive": "穷举",
    "sample": "抽样",
    "defaults": "默认",
    "nothing": "无",
    "nothing measured": "没有可度量的元素",
    "correctly rounded": "正确舍入",
    "other legal": "其他合法结果",
    "other legal: inside the bound of a legal order of evaluation": "其他合法结果：在某个合法求值次序的误差界之内",
    "failing": "超出误差界",
    # What was judged
    "suite {suite}, {cases}": "套件 {suite}，{cases}",
    "Drawn calls": "抽取的调用",
    "{calls} drawn, made in {ways} ways; {features} features seen; nothing new in the last {quiet}": (
        "{calls}，以 {ways} 种方式执行；覆盖特征 {features} 个；最近 {quiet}没有新情况"
    ),
    "SHA-256 of the vectors’ private seed": "向量私有种子的 SHA-256",
    "The vectors’ private seed": "向量的私有种子",
    "Vectors of a private seed (SHA-256 {digest}) were used.": "使用了由私有种子（SHA-256 {digest}）生成的向量。",
    "Public vectors alone were used: acceptance takes a private --seed and golden fuzz --time 600, too.": (
        "仅使用了公开向量：验收还需要私有的 --seed 和 golden fuzz --time 600。"
    ),
    "Vectors of the user’s own were used, without a private seed.": "使用了用户自己的向量，未使用私有种子。",
    "{name}: {cores}, {dtypes}, subnormals {subnormals}, half is {half}": (
        "{name}：{cores}，{dtypes}，次正规数 {subnormals}，half 为 {half}"
    ),
    "half passed as {abi}; numbers of choices {numbers}; subnormals {subnormals}": (
        "half 以 {abi} 传递；枚举编号 {numbers}；次正规数 {subnormals}"
    ),
    "This is a NumPy model and no compiled kernel, executed on {host}": (
        "这是在 {host} 上运行的 NumPy 模型，不是编译好的核函数"
    ),
    "This is a build for {machine} executed on {host}": "这是为 {machine} 编译、在 {host} 上运行的构建",
    "This is a host build executed on {host}": "这是在 {host} 上运行的主机构建",
    ", held to the profile of {profile}; it is not a measurement of that DSP": (
        "，按 {profile} 的平台配置判定；这并不是在该 DSP 上的测量"
    ),
    "The kernels were executed by a command: on which machine is not known here, and whoever made the run "
    "answers for it. The outputs were judged on {host} and held to the profile of {profile}.": (
        "核函数由一条命令执行，在哪台机器上执行此处无从得知，由执行者负责。"
        "输出在 {host} 上按 {profile} 的平台配置判定。"
    ),
    "The kernels were executed elsewhere, and their outputs dumped: on which machine is not known here, and whoever "
    "made the run answers for it. The outputs were judged on {host} and held to the profile of {profile}.": (
        "核函数在别处执行并转储了输出，在哪台机器上执行此处无从得知，由执行者负责。"
        "输出在 {host} 上按 {profile} 的平台配置判定。"
    ),
    "All {required} entry points judged for {platform} pass.": "按 {platform} 判定的 {required} 个入口全部通过。",
    "{bad} of {required} entry points that {platform} requires do not pass: {names}.": (
        "{platform} 要求的 {required} 个入口中有 {bad} 个未通过：{names}。"
    ),
    "{bad} of {required} entry points judged for {platform} do not pass: {names}.": (
        "按 {platform} 判定的 {required} 个入口中有 {bad} 个未通过：{names}。"
    ),
    "Nothing that was selected for {platform} fails; only a whole run is a verdict on the build.": (
        "为 {platform} 选取的部分没有失败；只有完整运行才是对该构建的判定。"
    ),
    "Held to": "判定标准",
    "Selected": "选取",
    "{options}: {cases} of {all_cases} cases, on {entries} of {all_entries} entry points": (
        "{options}：{all_cases} 个用例中的 {cases} 个，{all_entries} 个入口中的 {entries} 个"
    ),
    "stopped at the first failure, after {done} of {planned} cases": (
        "在第一个失败处停止，共运行 {planned} 个用例中的 {done} 个"
    ),
    "The build does not conform to {platform}.": "该构建不符合 {platform}。",
    "Nothing was run for {platform}.": "没有为 {platform} 运行任何用例。",
    "No entry point was run.": "没有运行任何入口。",
    "No measured element differs from the correctly rounded value.": "所有可度量的元素都等于正确舍入的值。",
    "99.9 % of the measured elements are within {ulp} ulp, bias {bias} ulp": (
        "99.9 % 的可度量元素误差不超过 {ulp} ulp，偏差 {bias} ulp"
    ),
    "The sections of {count} are left out here: see the HTML report.": "此处略去 {count}的章节，见 HTML 报告。",
    "This page is self-contained: it loads nothing and sends nothing.": (
        "本页自成一体：不加载任何内容，也不发送任何内容。"
    ),
    # Errors and their pictures
    "{ulp} ulp off, legal up to {bound} ulp": "误差 {ulp} ulp，合法上限 {bound} ulp",
    "bits differ": "位模式不同",
    "{start} to {end} ulp: {count}": "{start} 至 {end} ulp：{count}",
    "max {max}, mean {mean} ulp": "最大 {max}，平均 {mean} ulp",
    "legal up to {bound}": "合法上限 {bound}",
    "; the worst element's legal bound, {bound} ulp, is marked": "；标出了最差元素的合法误差界 {bound} ulp",
    "Histogram of the error of {count}, all below {end} ulp; counts on a logarithmic scale": (
        "{count}的误差直方图，全部低于 {end} ulp；计数为对数刻度"
    ),
    "Elements (logarithmic) by error in ulp: all measured elements.": (
        "元素个数（对数刻度）随误差（ulp）的分布：全部可度量的元素。"
    ),
    "Dashed: the legal bound of the worst element; bounds differ from element to element.": (
        "虚线：最差元素的合法误差界；误差界因元素而异。"
    ),
    "Largest and mean error in ulp of {count}, by the binade of {axis}; the largest is {highest} ulp": (
        "{count}的最大与平均误差（ulp），按 {axis} 的二进区间划分；最大为 {highest} ulp"
    ),
    "Error in ulp against": "误差（ulp）的位置，横轴为",
    "Error in ulp against the magnitude of the exact value": "误差（ulp）的位置，横轴为精确值的绝对值",
    "Bars: the largest error in a binade; the mark in each: the mean. Below the thin line at 0.5 ulp every result "
    "is the correctly rounded one.": (
        "柱：每个二进区间 [2^k, 2^(k+1)) 内的最大误差；柱中短线：平均误差。低于 0.5 ulp 细线的柱，其结果全部正确舍入。"
    ),
    "Error in ulp is |got − y| / ulp(y), where y is the exact real result and "
    "ulp(y) = 2^(max(floor(log2 |y|), emin) − p + 1); other definitions differ at powers of two.": (
        "误差（ulp）为 |实际值 − y| / ulp(y)，y 为精确实数结果，"
        "ulp(y) = 2^(max(floor(log2 |y|), emin) − p + 1)；其他定义在 2 的幂处有所不同。"
    ),
    "The vectors are a sample of all inputs, so every maximum is a lower bound of the true maximum "
    "(marked ≥): other inputs may be worse.": (
        "向量只是全部输入的抽样，因此每个最大值都是真实最大值的下界（以 ≥ 标出）：其他输入可能更差。"
    ),
    "A sweep computes every input of a space, so its maximum is the true one for that space (marked ≤); "
    "inputs outside the space may be worse.": (
        "扫描计算某个空间的每一个输入，因此其最大值就是该空间的真实最大值（以 ≤ 标出）；空间之外的输入可能更差。"
    ),
    "Largest error in ulp and grade; the worse of shared and private storage. ≥: over sampled vectors, the true "
    "maximum may be larger. ≤: over every input of the space named, which no error exceeds.": (
        "最大误差（ulp）与等级，取共享与私有存储中较差者。≥：抽样向量上的最大值，真实最大值可能更大。"
        "≤：所列空间全部输入上的最大值，没有误差超过它。"
    ),
    "What words such as case, class, contract and finding mean: docs/glossary.md in golden's sources.": (
        "用例、类别、约定、发现等用语的含义见 golden 源码中的 docs/glossary.md（英文）。"
    ),
    "all {points} points": "全部 {points} 个点",
    "{points} points, a sample": "{points} 个点的抽样",
    "{points}, {measured} with a non-zero real value; {outside} outside every legal bound; bias {bias} ulp": (
        "{points}，其中 {measured} 个的精确值为非零实数；{outside} 个超出所有合法误差界；偏差 {bias} ulp"
    ),
    # Grades
    "every element is the exact value rounded once to nearest, ties to even": (
        "每个元素都是精确值一次舍入的结果（就近舍入，平局取偶）"
    ),
    "every element is less than 1 ulp from the exact value": "每个元素与精确值相差不到 1 ulp",
    "every element is within the bound derived for the documented order of evaluation": (
        "每个元素都在文档所写求值次序推导出的误差界之内"
    ),
    "every element is within the bound derived for the widest legal order of evaluation": (
        "每个元素都在最宽的合法求值次序推导出的误差界之内"
    ),
    "some element is outside every legal bound, or a contract is broken, or it did not run": (
        "有元素超出所有合法误差界，或违反了某项约定，或没有运行"
    ),
    # Kinds of mismatch
    "a number of the right class whose distance to the exact value was measured": (
        "类别正确的数，已度量其与精确值的距离"
    ),
    "a zero of the other sign; either sign conforms": "零的符号相反；正负皆符合要求",
    "NaN on one side only": "只有一方是 NaN",
    "the exact result is infinite or beyond the largest number, the result is not that infinity": (
        "精确结果为无穷或超出最大数，实际结果却不是该无穷"
    ),
    "infinite although the exact value rounds to a finite number": "精确值可舍入为有限数，实际结果却是无穷",
    "zero although the exact value rounds to a non-zero number": "精确值可舍入为非零数，实际结果却是零",
    "not zero although the exact value is zero": "精确值为零，实际结果却不是零",
    "NaN with another payload; every NaN conforms": "NaN 的有效载荷不同；任何 NaN 都符合要求",
    # Contracts
    "every call returns: no crash, no hang": "每次调用都返回：不崩溃、不挂起",
    "nothing beside the operands is read or written (inaccessible pages on both sides)": (
        "不读写操作数之外的内存（两侧均为不可访问的内存页）"
    ),
    "no byte beside the output is written": "不改写输出之外的任何字节",
    "no input is written": "不改写任何输入",
    "operands that a call has no use for are not touched (they are inaccessible)": (
        "不触碰调用用不到的操作数（它们位于不可访问的内存页）"
    ),
    "rounding mode, flush bits and traps are as they were before the call": (
        "舍入模式、清零标志与异常陷阱在调用后保持原样"
    ),
    "no process is started or left behind": "不启动也不遗留进程",
    "registers, direction flag and x87 stack are as the calling convention says": (
        "寄存器、方向标志与 x87 寄存器栈符合调用约定"
    ),
    "every output element is written (held against two different fillings)": (
        "写出每个输出元素（以两种不同的预填值对照）"
    ),
    "outputs of no element and of one element": "输出只有零个或一个元素",
    "same bits with every core mask": "换任何核掩码，结果逐位相同",
    "same bits wherever the operands lie: side of the guard page, alignment, offset against each other": (
        "操作数无论放在哪里结果逐位相同：保护页的哪一侧、对齐方式、彼此的相对偏移"
    ),
    "same bits whatever the output held before": "无论输出区原先是什么内容，结果逐位相同",
    "same bits whatever operands hold that are passed for their size only": (
        "只为尺寸而传入的操作数，其内容不影响结果的任何一位"
    ),
    "same bits where the output lies on an input, as the platform allows": (
        "输出与某个输入同址（平台允许时），结果逐位相同"
    ),
    "same bits after calls of any other entry point and, in large suites, after 70,000 calls": (
        "在任一其他入口点的调用之后，以及在大套件中连续 70,000 次调用之后，结果逐位相同"
    ),
    "same bits when the same call is repeated": "重复同一调用，结果逐位相同",
    "same bits for the same inputs at every position": "相同输入在任何位置的结果逐位相同",
    "same bits from shared and private storage": "共享与私有存储版本的结果逐位相同",
    "not observable in this way of running": "此运行方式无法观察",
    "not checked by these vectors": "这些向量未检查",
    "An invocation is one execution of a case; most cases are executed several times, with something that must not "
    "matter changed each time. Where several things were changed at once, a case counts as broken for each of them "
    "that cannot be excluded as the cause.": (
        "一次调用即用例的一次执行；多数用例会执行多次，每次改变一些不应影响结果的因素。"
        "若一次改变了多个因素，凡不能排除为原因的，都对该用例记为违反。"
    ),
}
