"""The codes of our reports, each written once: (value, scheme, meaning) as PS3.16 prints them."""

from __future__ import annotations

from pydicom.sr.coding import Code

from dicom_node.core.findings import Outcome, ReasonCode

# Root, containers and observation context (TID 1500, 1001, 1600)
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
FINDINGS = Code("121070", "DCM", "Findings")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
DEVICE = Code("121007", "DCM", "Device")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
XR_UNSPECIFIED = Code("43468-8", "LN", "XR Unspecified body region")

# Algorithm identification (TID 4019)
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")

# Image library descriptors (TID 1602)
MODALITY = Code("121139", "DCM", "Modality")
TARGET_REGION = Code("123014", "DCM", "Target Region")
IMAGE_LATERALITY = Code("111027", "DCM", "Image Laterality")
IMAGE_VIEW = Code("111031", "DCM", "Image View")

# Measurement groups (TID 1501, 1410)
FINDING = Code("121071", "DCM", "Finding")
FRACTURE = Code("125605004", "SCT", "Fracture of bone")
PRESENCE = Code("121052", "DCM", "Presence of property")
PROBABILITY = Code("122157", "DCM", "Probability")
COMMENT = Code("121106", "DCM", "Comment")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
SOURCE_IMAGE = Code("111040", "DCM", "Original Source")
METHOD = Code("370129005", "SCT", "Measurement Method")
VISUAL_EXPLANATION = Code("130401", "DCM", "Visual explanation")
GRADIENT_WEIGHTED = Code("130403", "DCM", "Gradient-weighted class activation")
PERCENT = Code("%", "UCUM", "Percent")
NO_UNITS = Code("1", "UCUM", "no units")

# CID 240
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")
PRESENCE_OF = {Outcome.POSITIVE: PRESENT, Outcome.NEGATIVE: ABSENT, Outcome.INCONCLUSIVE: UNDETERMINED}

# CID 6047 and CID 6042
CAD_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
ALL_WITHOUT = Code("111241", "DCM", "All algorithms succeeded; without findings")
ALL_WITH = Code("111242", "DCM", "All algorithms succeeded; with findings")
SOME_WITHOUT = Code("111243", "DCM", "Not all algorithms succeeded; without findings")
SOME_WITH = Code("111244", "DCM", "Not all algorithms succeeded; with findings")
NONE_WITHOUT = Code("111245", "DCM", "No algorithms succeeded; without findings")
SUMMARY_OF_DETECTIONS = Code("111064", "DCM", "Summary of Detections")
SUCCEEDED = Code("111222", "DCM", "Succeeded")
PARTIALLY_SUCCEEDED = Code("111223", "DCM", "Partially Succeeded")
FAILED = Code("111224", "DCM", "Failed")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")

# CID 7005, CID 244, CID 29
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
LATERALITIES = {
    "L": Code("7771000", "SCT", "Left"),
    "R": Code("24028007", "SCT", "Right"),
    "B": Code("51440002", "SCT", "Bilateral"),
}
MODALITIES = {
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
    "RG": Code("RG", "DCM", "Radiographic imaging"),
    "RF": Code("RF", "DCM", "Radiofluoroscopy"),
}

#: ViewPosition (0018,5101) and the words that makers write into it, as CID 4010 "DX View".
VIEWS = {
    "AP": Code("399348003", "SCT", "antero-posterior"),
    "PA": Code("272479007", "SCT", "postero-anterior"),
    "LL": Code("399173006", "SCT", "left lateral"),
    "RL": Code("399198007", "SCT", "right lateral"),
    "LAT": Code("399067008", "SCT", "lateral"),
    "LATERAL": Code("399067008", "SCT", "lateral"),
    "OBLIQUE": Code("399182000", "SCT", "oblique"),
    "OBL": Code("399182000", "SCT", "oblique"),
    "LLO": Code("399184004", "SCT", "left oblique"),
    "RLO": Code("399236003", "SCT", "right oblique"),
    "AXIAL": Code("399061009", "SCT", "axial"),
}

#: BodyPartExamined (0018,0015) as CID 4009 "DX Anatomy Imaged"; a word that is not here gives no finding site at all.
BODY_PARTS = {
    "ANKLE": Code("70258002", "SCT", "Ankle joint"),
    "ARM": Code("40983000", "SCT", "Upper arm"),
    "CALCANEUS": Code("80144004", "SCT", "Calcaneus"),
    "CHEST": Code("816094009", "SCT", "Chest"),
    "CLAVICLE": Code("51299004", "SCT", "Clavicle"),
    "CSPINE": Code("122494005", "SCT", "Cervical spine"),
    "ELBOW": Code("16953009", "SCT", "Elbow joint"),
    "EXTREMITY": Code("66019005", "SCT", "Extremity"),
    "FEMUR": Code("71341001", "SCT", "Femur"),
    "FINGER": Code("7569003", "SCT", "Finger"),
    "FOOT": Code("56459004", "SCT", "Foot"),
    "FOREARM": Code("14975008", "SCT", "Forearm"),
    "HAND": Code("85562004", "SCT", "Hand"),
    "HIP": Code("24136001", "SCT", "Hip joint"),
    "HUMERUS": Code("85050009", "SCT", "Humerus"),
    "KNEE": Code("72696002", "SCT", "Knee"),
    "LEG": Code("30021000", "SCT", "Lower leg"),
    "LSPINE": Code("122496007", "SCT", "Lumbar spine"),
    "PATELLA": Code("64234005", "SCT", "Patella"),
    "PELVIS": Code("816092008", "SCT", "Pelvis"),
    "SCAPULA": Code("79601000", "SCT", "Scapula"),
    "SHOULDER": Code("16982005", "SCT", "Shoulder"),
    "SKULL": Code("89546000", "SCT", "Skull"),
    "SPINE": Code("421060004", "SCT", "Spine"),
    "THUMB": Code("76505004", "SCT", "Thumb"),
    "TOE": Code("29707007", "SCT", "Toe"),
    "TSPINE": Code("122495006", "SCT", "Thoracic spine"),
    "WRIST": Code("74670003", "SCT", "Wrist joint"),
}

# Our own scheme: what the standard has no code for. A code, once sent, is never given another meaning.
OWN_SCHEME = "99DCMNODE"
OWN_SCHEME_NAME = "dicom-node local codes"
TRIAGE_REPORT = Code("TRIAGE-REPORT", OWN_SCHEME, "AI fracture triage report")
ALGORITHM = Code("ALGORITHM", OWN_SCHEME, "Algorithm and its parameters")
OUTCOME = Code("OUTCOME", OWN_SCHEME, "AI triage outcome")
REASON = Code("REASON", OWN_SCHEME, "Reason for the outcome")
ENTROPY = Code("LOC-ENTROPY", OWN_SCHEME, "Normalised entropy of positive evidence")
AREA = Code("LOC-AREA", OWN_SCHEME, "Active share of the body area")
OUT_OF_BODY = Code("LOC-OUTSIDE", OWN_SCHEME, "Share of positive evidence outside the body")
LOCALISER_MAP = Code("M-LOCALISER", OWN_SCHEME, "Map of a localiser trained on drawn boxes")
OTHER_MAP = Code("M-OTHER", OWN_SCHEME, "Map of a kind without a code")

OUTCOMES = {
    Outcome.POSITIVE: Code("O-POS", OWN_SCHEME, "Positive"),
    Outcome.NEGATIVE: Code("O-NEG", OWN_SCHEME, "Negative"),
    Outcome.INCONCLUSIVE: Code("O-INC", OWN_SCHEME, "Inconclusive"),
    Outcome.NOT_ANALYSED: Code("O-NONE", OWN_SCHEME, "Not analysed"),
}
REASONS = {
    ReasonCode.MODALITY: Code("R-101", OWN_SCHEME, "Modality out of scope"),
    ReasonCode.BODY_PART: Code("R-102", OWN_SCHEME, "Body part out of scope"),
    ReasonCode.AGE: Code("R-103", OWN_SCHEME, "Age out of scope"),
    ReasonCode.IMAGE_KIND: Code("R-104", OWN_SCHEME, "Kind of image out of scope"),
    ReasonCode.NO_PIXELS: Code("R-105", OWN_SCHEME, "No pixel data"),
    ReasonCode.OWN_RESULT: Code("R-106", OWN_SCHEME, "Own result"),
    ReasonCode.MALFORMED: Code("R-107", OWN_SCHEME, "Malformed data set"),
    ReasonCode.NO_MODEL: Code("R-108", OWN_SCHEME, "No usable model"),
    ReasonCode.IMPLAUSIBLE_SIZE: Code("R-201", OWN_SCHEME, "Implausible image size"),
    ReasonCode.UNDECODABLE: Code("R-202", OWN_SCHEME, "Pixel data could not be decoded"),
    ReasonCode.FLAT_IMAGE: Code("R-203", OWN_SCHEME, "Image without contrast"),
    ReasonCode.NON_FINITE: Code("R-204", OWN_SCHEME, "Model output was not a number"),
    ReasonCode.MAP_MISMATCH: Code("R-205", OWN_SCHEME, "Map does not sum to the score"),
    ReasonCode.CRASHED: Code("R-206", OWN_SCHEME, "Analysis process ended abnormally"),
    ReasonCode.CONSTANT: Code("R-207", OWN_SCHEME, "Model output was constant"),
    ReasonCode.DAMAGED: Code("R-208", OWN_SCHEME, "Stored file damaged"),
    ReasonCode.BETWEEN_THRESHOLDS: Code("R-301", OWN_SCHEME, "Probability between the thresholds"),
    ReasonCode.LOCALISATION_UNTRUSTED: Code("R-302", OWN_SCHEME, "Localisation not trusted"),
    ReasonCode.NOT_CERTIFIED: Code("R-303", OWN_SCHEME, "No certified threshold"),
    ReasonCode.VIEWS_DISAGREE: Code("R-304", OWN_SCHEME, "Views disagree"),
    ReasonCode.VIEW_NOT_ANALYSED: Code("R-305", OWN_SCHEME, "A view was not analysed"),
}
