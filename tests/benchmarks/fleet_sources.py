"""What the simulated fleet assumes, each with where it is from and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass


def _hours(shares: str) -> tuple[float, ...]:
    return tuple(float(share) for share in shares.split())


# Volume: 23.1 million radiographic examinations a year in England for 141,000 beds.
EXAMINATIONS_PER_BED_YEAR = 164.0
SOURCE_SHARES = {"emergency": 0.30, "ward": 0.20, "clinic": 0.50}
REGION_SHARES = {"EXTREMITY": 0.52, "AXIAL": 0.18, "CHEST": 0.26, "ABDOMEN": 0.04}

# Shares of a day by hour, from midnight; scaled to one. Days of the week from Monday; scaled to a mean of one.
HOURS = {
    "emergency": _hours(
        "2.0 1.6 1.3 1.1 1.0 1.1 1.4 2.4 4.6 6.6 7.4 7.4  6.9 6.6 6.5 6.4 6.3 6.3 5.9 5.3 4.5 3.6 2.9 2.3"
    ),
    "ward": _hours("1.0 0.8 0.8 0.8 1.5 3.0 7.0 9.0 9.0 9.0 9.0 8.0  6.0 6.0 6.0 5.0 5.0 4.0 3.0 2.0 1.5 1.2 1.2 1.2"),
    "clinic": _hours("0 0 0 0 0 0 0 2 9 15 15 13  8 9 11 10 6 2 0 0 0 0 0 0"),
}
WEEKDAYS = {
    "emergency": (15.8, 14.2, 14.0, 14.0, 14.0, 14.0, 14.0),
    "ward": (15.5, 15.5, 15.5, 15.5, 15.0, 11.5, 11.5),
    "clinic": (21.0, 20.0, 19.5, 19.5, 17.0, 2.0, 1.0),
}
HOUR_NOISE = 0.15  # coefficient of variation of an hour's rate, over and above chance

# How many views an examination has, with the share of each number.
VIEWS = {
    "EXTREMITY": {1: 0.03, 2: 0.47, 3: 0.33, 4: 0.11, 5: 0.03, 6: 0.02, 8: 0.01},
    "AXIAL": {1: 0.30, 2: 0.50, 3: 0.12, 4: 0.08},
    "CHEST": {1: 0.55, 2: 0.45},
    "ABDOMEN": {1: 0.70, 2: 0.30},
}
# (modality, rows, columns, share): 16 bits a pixel, uncompressed.
MATRICES = {
    "EXTREMITY": (
        ("CR", 1000, 1300, 0.2),
        ("CR", 1770, 2370, 0.2),
        ("DX", 2000, 2500, 0.4),
        ("DX", 2500, 3000, 0.2),
    ),
    "AXIAL": (("CR", 1760, 2140, 0.4), ("DX", 2500, 3000, 0.6)),
    "CHEST": (("CR", 1760, 2140, 0.4), ("DX", 3000, 3000, 0.6)),
    "ABDOMEN": (("CR", 1760, 2140, 0.4), ("DX", 3000, 3000, 0.6)),
}
COMPRESSED_SHARE, COMPRESSION = 0.3, 2.5

# How the images of an examination reach the node.
AT_ONCE_SHARE = 0.6  # sent together when the examination ends; otherwise view by view as they are exposed
GAP_MEDIAN_S, GAP_SIGMA = 25.0, 0.8  # between two exposures: log-normal
LATE_SHARE, LATE_S = 0.03, (600.0, 3600.0)
AGAIN_SHARE, AGAIN_S = 0.02, (60.0, 7200.0)
DOCUMENT_SHARE, DOCUMENT_MATRIX = 0.05, (1000, 800)

OUTAGE_HOURS = (9.0, 11.0)
CASUALTIES, EXAMINATIONS_PER_CASUALTY, CASUALTY_HOURS = 194, 57 / 40, (10.0, 4.0)


@dataclass(frozen=True)
class Assumption:
    """One number of the model, for the page: what it is, its value, where from, and the range that it may have."""

    what: str
    value: str
    source: str


ASSUMPTIONS = (
    Assumption(
        "radiographic examinations a bed and year",
        f"{EXAMINATIONS_PER_BED_YEAR:.0f}",
        "23.1 million in England in 2013/14 [1] for 141,000 NHS beds of all kinds in 2018/19 [2]. Range: 94 (46,979 "
        "for about 500 beds, Kantonsspital Winterthur 2019 [3]) to 230 (assumed: acute beds alone)",
    ),
    Assumption(
        "examinations a head and year",
        "0.43",
        "the same 23.1 million for 54 million people, so a region of ten such hospitals is 3.8 million people. "
        "Germany does more: about 0.6 of skeleton and chest (1.6 X-ray applications, 28 % skeleton, 10 % chest [4])",
    ),
    Assumption(
        "from emergency, wards, clinics and practices",
        "30, 20, 50 %",
        "35 % of emergency visits have a radiograph [5], times 19.6 million visits [6], is 30 % of [1]; the rest "
        "assumed (wards 10-30 %)",
    ),
    Assumption(
        "extremities, spine and pelvis, chest, abdomen",
        "52, 18, 26, 4 %",
        "skeleton to chest 28 : 10 [4]; chest 26 % and 45 % of images in two hospitals [7]; the split of the skeleton "
        "is assumed (extremities 60-80 % of it). The PACS forwards them all: its rule knows modalities, not body parts",
    ),
    Assumption(
        "hour of the day, emergency",
        "60 % from 9 to 18",
        "about 60 % arrive then [8]; on Mondays from 10 to 12 twice the mean hour [9]; the single hours drawn to fit",
    ),
    Assumption(
        "hour of the day, wards and clinics",
        "morning peaks",
        "assumed: mobile chests from 6, clinics and practices from 8 to 17 with most from 9 to 12",
    ),
    Assumption(
        "day of the week",
        "Monday",
        "15.8 % of emergency visits are on Mondays [6]; clinics at week-ends 3 % (assumed)",
    ),
    Assumption("an hour's rate beyond chance", "15 %", "coefficient of variation, assumed (10-30 %)"),
    Assumption(
        "views an examination",
        "extremity 2.7, spine 2.0, chest 1.5",
        "extremities: 40,561 images in 14,863 studies [10], up to 8; chest: half are mobile [7], with one view; "
        "the rest assumed",
    ),
    Assumption(
        "size of an image",
        "CR 2.6-8.4 MB, DX 10-18 MB",
        "CR 1760 x 2140 x 16 bit = 7.5 MB [11]; DX 8-18 MB [12]; the small CR plate and the shares assumed",
    ),
    Assumption(
        "compressed without loss",
        "30 %, 2.5 : 1",
        "2 : 1 to 3 : 1 [13]; the share is assumed (0-100 %, as the site set its PACS)",
    ),
    Assumption(
        "all views at once, at the examination's end",
        "60 %",
        "assumed (30-100 %); the others come one by one, 25 s apart in the median, 95 % within 95 s (assumed: 10-60 s)",
    ),
    Assumption(
        "a further view 10 to 60 minutes later",
        "3 %",
        "assumed (1-8 %); rejected exposures are 4.4-4.9 % [7] to 12 % [14] of all, and mostly not sent",
    ),
    Assumption("the whole study sent again", "2 %", "assumed (0-5 %): the same bytes, which change nothing"),
    Assumption("a page that is no radiograph", "5 % of studies", "assumed (0-30 %): a scanned request, a dose page"),
    Assumption(
        "outage of the PACS, then its backlog at once",
        "9 to 11 on the Monday",
        "a couple of hours, every half year [15]",
    ),
    Assumption(
        "mass casualties",
        "194 people, 276 examinations in 4 h",
        "the Royal London Hospital on 7 July 2005 received 194 [16]; 57 radiographs for 40 patients in Boston in 2013 "
        "[17]; the four hours and two limbs to a chest are assumed",
    ),
)

REFERENCES = (
    (
        "NHS England, Annual Imaging and Radiodiagnostics Statistics 2013-14, "
        "https://www.england.nhs.uk/statistics/2014/08/06/annual-imaging-and-radiodiagnostics-statistics-2013-14/"
    ),
    "The King's Fund, NHS hospital bed numbers, https://www.kingsfund.org.uk/publications/nhs-hospital-bed-numbers",
    (
        "Kantonsspital Winterthur, figures of 2019 and 2020, "
        "https://www.ksw.ch/klinik/radiologie-und-nuklearmedizin/kennzahlen/"
    ),
    "Bundesamt für Strahlenschutz, X-ray applications in 2018, as in https://roentgenfilmentsorgung.de/?p=565",
    "CDC, QuickStats, MMWR 62(22), 2013: emergency visits with a radiograph, about 35 % from 2001 to 2010",
    (
        "HSCIC, Accident and Emergency Attendances in England 2014/15, "
        "http://content.digital.nhs.uk/article/6934/New-report-sheds-light-on-AE-attendances-in-England"
    ),
    (
        "Foos et al., Digital radiography reject analysis, J Digit Imaging 2009, doi 10.1007/s10278-008-9112-5 "
        "(288,000 CR images)"
    ),
    "HSCIC, 2012/13, as in https://healthcareleadernews.com/news/most-ae-attendances-in-work-hours/",
    (
        "HSCIC, 2011/12, as in https://www.nursingtimes.net/clinical-archive/accident-and-emergency/"
        "mondays-are-busiest-time-for-ae-staff/5053969.article"
    ),
    "Rajpurkar et al., MURA, 2017, https://arxiv.org/abs/1712.06957",
    "PACSnet storage calculator, http://www.ninestepstougly.com/pacsnet.org.uk/calc2.html",
    "A maker of detectors, https://www.xraydr.com/three-advantages-of-dr-detectors/",
    "Lossless and lossy compression, https://www.seekhealthz.com/health/difference-between-lossy-and-lossless-compression",
    "Reject analysis in direct digital radiography, Acta Radiol 2012, doi 10.1258/ar.2011.110350",
    "H. Oosterwijk, Help! PACS is down!, 2018, https://blog.otechimg.com/2018/07/help-pacs-is-down.html",
    "Aylwin et al., Lancet 2006;368:2219, doi 10.1016/S0140-6736(06)69896-6",
    "Brunner et al., Radiology 2014, as in http://press.rsna.org/timssnet/media/pressreleases/pr_target.cfm?ID=748",
)
