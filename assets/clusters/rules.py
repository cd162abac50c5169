"""The matcher's tunables: one frozen value per stage, one configuration for every catalogue.

Belongs here: thresholds, caps and vocabularies, each with its reason. Not here: the code that uses them.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

#: Spelling of a unit -> canonical unit. Values are compared only within one canonical unit.
UNITS: Final = MappingProxyType(
    {
        spelling: unit
        for unit, spellings in {
            "gb": "gb go gig gigabyte gigabytes gbyte",
            "tb": "tb terabyte terabytes",
            "mb": "mb mo megabyte megabytes mbyte",
            "inch": "inch inches in zoll pouce pouces pulgadas pollici",
            "cm": "cm centimetre centimetres centimeter centimeters",
            "mm": "mm millimetre millimetres millimeter millimeters",
            "ft": "ft feet foot",
            "kg": "kg kgs kilo kilos kilogram kilograms",
            "g": "g gram grams gr",
            "lb": "lb lbs pound pounds",
            "oz": "oz ounce ounces",
            "l": "l lt ltr ltrs litre litres liter liters",
            "ml": "ml millilitre millilitres milliliter milliliters",
            "w": "w watt watts",
            "v": "volt volts",
            "mah": "mah",
            "hz": "hz hertz",
            "mhz": "mhz",
            "ghz": "ghz",
            "rpm": "rpm spin",
            "mp": "mp megapixel megapixels mpix mpixel",
            "btu": "btu btus",
            "port": "port ports",
            "user": "user users seat seats license licenses licence licences",
            "pack": "pack packs pk pcs pieces piece count ct",
        }.items()
        for spelling in spellings.split()
    }
)

#: Units that are written as so many of another, so that `1 TB` is `1000 GB`.
MULTIPLES: Final = MappingProxyType({"tb": ("gb", 1000)})

#: Roman numerals that are seldom anything else in a title (`i`, `v`, `x`, `l` and `c` are).
ROMAN: Final = MappingProxyType(
    {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "xi": "11", "xii": "12"}
)

#: Spelling of a colour -> canonical colour.
COLOURS: Final = MappingProxyType(
    {
        spelling: colour
        for colour, spellings in {
            "black": "black blk schwarz noir nero zwart svart sort negro graphite charcoal",
            "white": "white wht weiss blanc bianco wit vit hvid blanco",
            "silver": "silver slv silber argent argento",
            "grey": "grey gray grau gris anthracite titanium",
            "red": "red rot rouge rosso rood",
            "blue": "blue blu blau bleu blauw azul navy",
            "green": "green grn vert verde grun mint olive",
            "pink": "pink rosa rose",
            "gold": "gold golden",
            "brown": "brown braun chocolate",
            "purple": "purple violet lila lavender",
            "orange": "orange",
            "yellow": "yellow gelb jaune",
            "steel": "stainless inox edelstahl",
            "cream": "cream creme ivory beige bisque",
        }.items()
        for spelling in spellings.split()
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsingRules:
    """How text becomes tokens, codes, numbers and measures.

    Attributes:
        code_length: Shortest model code that mixes letters and digits.
        digits_length: Shortest model code of digits alone (a year has four).
        glue: Most neighbouring tokens that are written together where the corpus knows the result as one token.
        description_tokens: Tokens of a description that are read; what identifies a product comes early.
    """

    code_length: int = 4
    digits_length: int = 5
    glue: int = 3
    description_tokens: int = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRules:
    """How many neighbours each channel proposes, and what it may cost.

    Constant caps, not shares of the corpus, keep every search linear in its size.

    Attributes:
        words: Neighbours by rare title words.
        grams: Neighbours by character 3-grams of the title; the strongest single channel.
        vectors: Neighbours by embedding.
        descriptions: Neighbours by the words of title and description together.
        codes: Neighbours that share a rare model code.
        word_frequency: A word held by more products than this does not search.
        gram_frequency: The same for 3-grams.
        code_frequency: The same for codes.
        word_terms: Heaviest words of a query that search.
        gram_terms: The same for 3-grams.
        slack: Neighbours kept beyond those that are proposed, to replace some that leave.
        least_similarity: Cosine over the searching terms alone below which a neighbour is none.
        friends: Neighbours that share a likely partner, though no search proposed them.
        friend_partners: Partners of each offer, the likeliest, through which friends are sought.
        friend_chance: Probability, before rivals, from which a partner is a likely one.
        exact_vectors: Above this many products embeddings are searched by cells instead of all against all.
        cells: Nearest cells each product belongs to in that search.
        block: Rows searched at once; bounds the memory.
    """

    words: int = 26
    grams: int = 35
    vectors: int = 5
    descriptions: int = 5
    codes: int = 20
    word_frequency: int = 800
    gram_frequency: int = 600
    code_frequency: int = 30
    word_terms: int = 8
    gram_terms: int = 16
    slack: int = 8
    least_similarity: float = 0.08
    friends: int = 8
    friend_partners: int = 40
    friend_chance: float = 0.1
    exact_vectors: int = 20_000
    cells: int = 3
    block: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezingRules:
    """How long what is known of a catalogue serves.

    Attributes:
        growth: A catalogue that has grown or shrunk by this factor since is looked at anew, with a model of its own.
    """

    growth: float = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerRules:
    """When a seller counts as one that lists a product once.

    Attributes:
        twin_log_odds: Two offers of one seller above this prior score look like one product.
        twin_share: A seller with more than this share of offers that have such a twin is open: its offers may join.
        neighbours: Neighbours per offer in which twins are sought.
    """

    twin_log_odds: float = 4.0
    twin_share: float = 0.4
    neighbours: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VetoRules:
    """Which conflicts keep two products apart whatever else agrees.

    Attributes:
        dimensions: Statements that name a variant (see `variants`): two titles that contradict each other differ.
        silence: Those in which, where precision comes first, saying nothing contradicts a statement, too.
        numbers: Whether titles that differ in nothing but words with digits, or for a rank, are two products.
        pack: Whether packs of different size are kept apart; an offer that does not say is of one.
        condition: Whether a used or refurbished offer is kept apart from one that is new or does not say.
        accessories: Whether a part `for` something is kept apart from what it is for.
        colours: Whether two stated colours without one in common keep products apart.
    """

    dimensions: tuple[str, ...] = (
        *("screen_in", "storage_gb", "ram_gb", "volume_l", "mass_g", "length_mm", "battery_mah"),
        *("generation", "year", "platform", "packaging", "kit", "size", "edition"),
    )
    silence: tuple[str, ...] = ("packaging", "kit", "size")
    numbers: bool = True
    pack: bool = True
    condition: bool = True
    accessories: bool = True
    colours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringRules:
    """How the score is learned and read.

    Attributes:
        seed_gap: Log-odds by which a seed leads all its rivals.
        seed_floor: Smallest log-odds of a seed under the prior.
        prior_strength: How hard the weights are held at the prior; the training rows weigh `training_weight` a class.
        training_weight: Total weight of the seeds, and of their rivals.
        fewest_seeds: With fewer seeds than this the prior is kept as it is.
        most_lessons: Seeds, and rivals, that teach at most; bounds the cost of the fit.
        shift: Added to the log-odds before rivals compete.
    """

    seed_gap: float = 0.5
    seed_floor: float = -1.0
    prior_strength: float = 3.0
    training_weight: float = 300.0
    fewest_seeds: int = 30
    most_lessons: int = 40_000
    shift: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionRules:
    """When clusters join.

    Attributes:
        threshold: Smallest mean probability over all pairs between two clusters that join.
        precision_threshold: The same where `precision_first` is asked for.
        precision_first: Rather part two offers of one product than join offers of two (automatic pricing).
    """

    threshold: float = 0.25
    precision_threshold: float = 0.97
    precision_first: bool = False

    @property
    def needed(self) -> float:
        """The threshold in force."""
        return self.precision_threshold if self.precision_first else self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRules:
    """Which pairs are put to a judge, and how.

    Attributes:
        questions: Most pairs that a clustering puts to the judge, known answers included; 0 asks nobody.
        least: Probability below which a pair is not worth a question.
        most: The same from above.
        batch: Pairs in one request. An order hidden in a listing reaches the pairs of its own request only.
        concurrency: Requests under way at once.
        description: Characters of a description that are sent.
    """

    questions: int = 0
    least: float = 0.02
    most: float = 0.98
    batch: int = 10
    concurrency: int = 4
    description: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRules:
    """The matcher's whole configuration."""

    parsing: ParsingRules = ParsingRules()
    freezing: FreezingRules = FreezingRules()
    candidates: CandidateRules = CandidateRules()
    sellers: SellerRules = SellerRules()
    vetoes: VetoRules = VetoRules()
    scoring: ScoringRules = ScoringRules()
    resolution: ResolutionRules = ResolutionRules()
    judging: JudgeRules = JudgeRules()
