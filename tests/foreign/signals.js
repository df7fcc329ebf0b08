// The IAB's own libraries write strings from random models, damage some, and read them all. Prints one JSON object a line:
// the string, and what it says, or null where the library refuses it. The same seed prints the same lines.
'use strict';

const { TCModel, TCString, SegmentEncoder, Segment, PurposeRestriction } = require('@iabtcf/core');
const { GppModel, HeaderV1 } = require('@iabgpp/cmpapi');

const [seed, count] = process.argv.slice(2).map(Number);

// mulberry32: small, seeded, good enough to choose with.
let state = seed >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const below = (n) => Math.floor(random() * n);
const chance = (p) => random() < p;
const pick = (list) => list[below(list.length)];
const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);
const some = (numbers, p) => numbers.filter(() => chance(p));

function vendors() {
  const top = chance(0.02) ? 65535 : pick([0, 1, 12, 64, 300, 1200, 4000]);
  const numbers = new Set();
  if (top === 0) return numbers;
  if (chance(0.5)) {
    for (let i = 0; i < 1 + below(6); i++) {
      const first = 1 + below(top);
      for (let v = first; v <= Math.min(top, first + below(40)); v++) numbers.add(v);
    }
  } else {
    const density = random();
    for (let v = 1; v <= Math.min(top, 1300); v++) if (chance(density)) numbers.add(v);
  }
  return numbers;
}

// ---- TCF ----

// Which vendors exist decides what the library writes as one range: here all do.
const ALL_VENDORS = { vendorIds: new Set(upTo(65535)) };

function tcfModel() {
  const model = new TCModel();
  model.cmpId = 2 + below(4000);
  model.cmpVersion = 1 + below(4000);
  model.consentScreen = below(64);
  model.consentLanguage = pick(['EN', 'TR', 'DE', 'FR']);
  model.publisherCountryCode = pick(['TR', 'DE', 'AA', 'ZZ']);
  model.vendorListVersion = below(4096);
  model.policyVersion = pick([2, 3, 4, 5]);
  model.isServiceSpecific = chance(0.9);
  model.useNonStandardTexts = chance(0.5);
  model.purposeOneTreatment = chance(0.3);
  const day = Date.UTC(2019 + below(8), below(12), 1 + below(28));
  model.created = new Date(day);
  model.lastUpdated = new Date(day + below(3) * 86400000);
  some(upTo(12), 0.3).forEach((n) => model.specialFeatureOptins.set(n));
  some(upTo(24), 0.6).forEach((n) => model.purposeConsents.set(n));
  some(upTo(24), 0.4).forEach((n) => model.purposeLegitimateInterests.set(n));
  vendors().forEach((v) => model.vendorConsents.set(v));
  vendors().forEach((v) => model.vendorLegitimateInterests.set(v));
  // Few and small: the library keeps them in a tree that grows like a list, and takes seconds for thousands.
  for (let i = 0; chance(0.6) && i < 4; i++) {
    const restriction = new PurposeRestriction(1 + below(24), below(3));
    const first = 1 + below(1200);
    some(upTo(1 + below(30)), 0.7).forEach((v) => model.publisherRestrictions.add(first + v, restriction));
  }
  model.publisherRestrictions.gvl = ALL_VENDORS;
  vendors().forEach((v) => model.vendorsDisclosed.set(v));
  vendors().forEach((v) => model.vendorsAllowed.set(v));
  some(upTo(24), 0.5).forEach((n) => model.publisherConsents.set(n));
  some(upTo(24), 0.5).forEach((n) => model.publisherLegitimateInterests.set(n));
  const custom = below(64);
  model.numCustomPurposes = custom;
  some(upTo(custom), 0.5).forEach((n) => model.publisherCustomConsents.set(n));
  some(upTo(custom), 0.5).forEach((n) => model.publisherCustomLegitimateInterests.set(n));
  return model;
}

function tcfString() {
  const model = tcfModel();
  const others = [Segment.VENDORS_DISCLOSED, Segment.VENDORS_ALLOWED, Segment.PUBLISHER_TC].filter(() => chance(0.6));
  others.sort(() => random() - 0.5);
  // By segment: `TCString.encode` first takes out what the Global Vendor List does not have.
  return [Segment.CORE, ...others].map((segment) => SegmentEncoder.encode(model, segment)).join('.');
}

const members = (vector) => {
  const numbers = [];
  vector.forEach((is, n) => is && numbers.push(n));
  return numbers;
};

function readTcf(text) {
  const model = TCString.decode(text);
  const types = text.split('.').slice(1).map((segment) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.indexOf(segment[0]) >> 3);
  const restrictions = {};
  for (const restriction of model.publisherRestrictions.getRestrictions()) {
    restrictions[`${restriction.purposeId} ${restriction.restrictionType}`] = model.publisherRestrictions.getVendors(restriction);
  }
  return {
    version: model.version,
    created: model.created.getTime(),
    last_updated: model.lastUpdated.getTime(),
    cmp: model.cmpId,
    vendor_list: model.vendorListVersion,
    policy: model.policyVersion,
    service_specific: model.isServiceSpecific,
    special_features: members(model.specialFeatureOptins),
    purpose_consents: members(model.purposeConsents),
    purpose_interests: members(model.purposeLegitimateInterests),
    purpose_one_untold: model.purposeOneTreatment,
    publisher_country: model.publisherCountryCode,
    vendor_consents: members(model.vendorConsents),
    vendor_interests: members(model.vendorLegitimateInterests),
    restrictions,
    disclosed_vendors: types.includes(1) ? members(model.vendorsDisclosed) : null,
    publisher: types.includes(3)
      ? {
          consents: members(model.publisherConsents),
          interests: members(model.publisherLegitimateInterests),
          custom_consents: members(model.publisherCustomConsents),
          custom_interests: members(model.publisherCustomLegitimateInterests),
        }
      : null,
  };
}

// ---- GPP ----

const STATES = ['usnat', 'usca', 'usva', 'usco', 'usut', 'usct', 'usfl', 'usmt', 'usor', 'ustx', 'usde', 'usia', 'usne',
  'usnh', 'usnj', 'ustn', 'usmn', 'usmd', 'usin', 'usky', 'usri'];
const OPT_OUT_STATES = ['usca', 'usut', 'usia'];

// What each place of `SensitiveDataProcessing` means, from the sections' specifications.
const EIGHT = ['racial_or_ethnic_origin', 'religious_beliefs', 'health', 'sex_life_or_sexual_orientation',
  'citizenship_or_immigration_status', 'genetic_data', 'biometric_data', 'precise_geolocation'];
const SENSITIVE = {
  usnat: [...EIGHT, 'identification_documents', 'financial_accounts', 'union_membership', 'mail_contents',
    'consumer_health_data', 'crime_victim_status', 'national_origin', 'transgender_or_nonbinary_status'],
  usca: ['identification_documents', 'financial_accounts', 'precise_geolocation',
    ['racial_or_ethnic_origin', 'religious_beliefs', 'union_membership'], 'mail_contents', 'genetic_data',
    'biometric_data', 'health', 'sex_life_or_sexual_orientation'],
  usco: EIGHT.slice(0, 7),
  usut: ['racial_or_ethnic_origin', 'religious_beliefs', 'sex_life_or_sexual_orientation',
    'citizenship_or_immigration_status', 'health', 'genetic_data', 'biometric_data', 'precise_geolocation'],
  usor: ['racial_or_ethnic_origin', 'religious_beliefs', 'health', 'sex_life_or_sexual_orientation',
    'transgender_or_nonbinary_status', 'citizenship_or_immigration_status', 'national_origin', 'crime_victim_status',
    'genetic_data', 'biometric_data', 'precise_geolocation'],
  usde: [...EIGHT, 'transgender_or_nonbinary_status'],
  usnj: [...EIGHT, 'transgender_or_nonbinary_status', 'financial_accounts'],
  usmd: [],
};
// What each place of `KnownChildSensitiveDataConsents` is asked for; elsewhere the first, for all processing.
const TEENS = ['child', 'sale', 'targeted_advertising'];
const CHILDREN = {
  usnat: ['child', 'child', 'child'],
  usca: ['sale', 'sharing'],
  usct: TEENS, usmt: TEENS, usor: TEENS, usnh: TEENS,
  usfl: ['child', 'child', 'child'],
  usde: [...TEENS, 'sale', 'targeted_advertising'],
  usnj: [...TEENS, 'sale', 'targeted_advertising'],
};

function fill(model, name) {
  model.setFieldValue(name, 'SaleOptOut', 0);
  const section = model.getSection(name);
  for (const [field, value] of Object.entries(section)) {
    if (field === 'Version') {
      if (name === 'usnat') model.setFieldValue(name, field, 1 + below(2));
    } else if (field === 'MspaVersion') model.setFieldValue(name, field, 1 + below(3));
    else if (field === 'MspaCoveredTransaction') model.setFieldValue(name, field, 1 + below(2));
    else if (field === 'GpcSegmentType') continue;
    else if (field === 'Gpc') model.setFieldValue(name, field, chance(0.5));
    else if (Array.isArray(value)) model.setFieldValue(name, field, value.map(() => below(3)));
    else model.setFieldValue(name, field, below(3));
  }
  for (const field of ['GpcSegmentIncluded', 'SensitiveDataConsentSegmentIncluded']) {
    try {
      model.setFieldValue(name, field, chance(0.7));
    } catch (_) {
      // This section has no such segment.
    }
  }
}

function gppString() {
  const model = new GppModel();
  for (const name of STATES) if (chance(0.15)) fill(model, name);
  if (chance(0.2)) {
    model.setFieldValue('uspv1', 'Notice', pick(['Y', 'N', '-']));
    model.setFieldValue('uspv1', 'OptOutSale', pick(['Y', 'N', '-']));
    model.setFieldValue('uspv1', 'LspaCovered', pick(['Y', 'N', '-']));
  }
  if (chance(0.2)) {
    model.setFieldValue('tcfeuv2', 'CmpId', 2 + below(4000));
    model.setFieldValue('tcfeuv2', 'PolicyVersion', pick([4, 5]));
    model.setFieldValue('tcfeuv2', 'PublisherCountryCode', pick(['TR', 'DE', 'AA']));
    model.setFieldValue('tcfeuv2', 'PurposeConsents', upTo(24).map(() => chance(0.5)));
    model.setFieldValue('tcfeuv2', 'PurposeLegitimateInterests', upTo(24).map(() => chance(0.5)));
    model.setFieldValue('tcfeuv2', 'SpecialFeatureOptins', upTo(12).map(() => chance(0.5)));
    model.setFieldValue('tcfeuv2', 'VendorConsents', [...vendors()]);
    model.setFieldValue('tcfeuv2', 'VendorLegitimateInterests', [...vendors()]);
    model.setFieldValue('tcfeuv2', 'VendorsDisclosed', [...vendors()]);
    // Last: the library dates a model anew at every change.
    model.setFieldValue('tcfeuv2', 'LastUpdated', new Date(Date.UTC(2026, 2 + below(8), 1 + below(28))));
  }
  if (chance(0.1)) {
    model.setFieldValue('tcfcav1', 'PurposesExpressConsent', upTo(24).map(() => chance(0.5)));
    model.setFieldValue('tcfcav1', 'LastUpdated', new Date(Date.UTC(2026, below(10), 1 + below(28))));
  }
  return model.encode();
}

function readState(model, name, core) {
  const fields = { ...model.getSection(name) };
  // A first version with the lists of the second, as the library wrote it for a while: what it shows of it is cut short.
  if (name === 'usnat' && fields.Version === 1 && core.length * 6 >= 70) {
    for (const field of ['SensitiveDataProcessing', 'KnownChildSensitiveDataConsents']) {
      fields[field] = model.sections.get(name).segments[0].fields.get(field).getValue();
    }
  }
  const out = { sale: false, sharing: false, targeted_advertising: false, child: false };
  const is = (field, value) => fields[field] === value;
  out.sale = is('SaleOptOut', 1) || is('SaleOptOutNotice', 2);
  out.sharing = is('SharingOptOut', 1) || is('SharingOptOutNotice', 2);
  out.targeted_advertising = is('TargetedAdvertisingOptOut', 1) || is('TargetedAdvertisingOptOutNotice', 2);
  const children = [fields.KnownChildSensitiveDataConsents ?? []].flat();
  const meant = CHILDREN[name] ?? ['child'];
  children.forEach((consent, place) => consent === 1 && (out[meant[place]] = true));
  let sensitive = [fields.SensitiveDataProcessing ?? []].flat();
  if (['usin', 'usky', 'usri'].includes(name) && !model.getFieldValue(name, 'SensitiveDataConsentSegmentIncluded')) {
    sensitive = EIGHT.map(() => 0);
  }
  const untold = OPT_OUT_STATES.includes(name)
    && ['SensitiveDataLimitUseNotice', 'SensitiveDataProcessingOptOutNotice', 'SensitiveDataOptOutNotice'].some((field) => is(field, 2));
  const barred = (value) => (OPT_OUT_STATES.includes(name) ? value === 1 || untold : value !== 2);
  const categories = SENSITIVE[name] ?? EIGHT;
  out.sensitive_data = [...new Set(sensitive.flatMap((value, place) => (barred(value) ? categories[place] : [])))].sort();
  let included = false;
  try {
    included = model.getFieldValue(name, 'GpcSegmentIncluded');
  } catch (_) {
    // This section has no such segment.
  }
  out.gpc = included === true && fields.Gpc === true;
  return out;
}

function readGpp(text) {
  const model = new GppModel(text);
  const said = { tcf: null, sections: {} };
  const header = new HeaderV1(text.split('~')[0]).getFieldValue('SectionIds');
  for (const name of STATES) {
    if (!model.hasSection(name)) continue;
    const id = model.sections.get(name).getId();
    const core = text.split('~')[1 + header.indexOf(id)].split('.')[0];
    said.sections[name] = readState(model, name, core);
  }
  if (model.hasSection('uspv1')) {
    const { Version, OptOutSale, Notice } = model.getSection('uspv1');
    if (Version !== 1) throw new Error('not a version that there is');
    const sale = OptOutSale === 'Y' || Notice === 'N';
    said.sections.uspv1 = { sale, sharing: sale, targeted_advertising: false, child: false, sensitive_data: [], gpc: false };
  }
  if (model.hasSection('tcfeuv2')) {
    model.getSection('tcfeuv2');
    // Of the same string the TCF's own library tells more.
    said.tcf = readTcf(text.split('~')[1 + header.indexOf(2)]);
  }
  return said;
}

// ---- damage ----

const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

// Where publishers restrict vendors, a bit that moves makes ranges of thousands, which take the library minutes: such
// strings are cut, lengthened and reordered only.
function damaged(text, gently) {
  const at = below(text.length);
  const letter = pick([...CHARACTERS, '.', '~', '=', ' ']);
  const parts = (mark) => text.split(mark);
  switch (gently ? pick([0, 4, 5, 6]) : below(9)) {
    case 0: return text.slice(0, at);
    case 1: return text.slice(0, at) + letter + text.slice(at + 1);
    case 2: return text.slice(0, at) + letter + text.slice(at);
    case 3: return text.slice(0, at) + text.slice(at + 1);
    case 4: return text + letter;
    case 5: return [...parts('.'), pick(parts('.'))].join('.');
    case 6: return parts('.').reverse().join('.');
    case 7: return [...parts('~'), pick(parts('~'))].join('~');
    default: return text.slice(0, at) + text.slice(at).replace(/[A-Za-z]/, letter);
  }
}

function attempt(read, text) {
  try {
    return read(text);
  } catch (_) {
    return null;
  }
}

// Strings that specifications, vendors' manuals and users have published.
const PUBLISHED = [
  ['tcf', 'CQSbk4AQSbk4ANwAAAENAwCgAAAAAAAAAAYgACPAAAAA.IDKQA4AAgAKAGQAygAAA'],
  ['tcf', 'CQSbk4AQSbk4ANwAAAENAwCgAAAAAAAAAAYgACPAAAAA.IDKQA4AAgAKAGQAygAAA.YAAAAAAAAAAA'],
  ['tcf', 'COvFyGBOvFyGBAbAAAENAPCAAOAAAAAAAAAAAEEUACCKAAA'],
  ['tcf', 'COvFyGBOvFyGBAbAAAENAPCAAOAAAAAAAAAAAEEUACCKAAA.IFoEUQQgAIQwgIwQABAEAAAAOIAACAIAAAAQAIAgEAACEAAAAAgAQBAAAAAAAGBAAgAAAAAAAFAAECAAAgAAQARAEQAAAAAJAAIAAgAAAYQEAAAQmAgBC3ZAYzUw'],
  ['tcf', 'CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA'],
  ['tcf', 'COrVd1pOrVd1pACABCENAHCAAAAAAAAAAAiQAAAAAAAA'],
  ['tcf', 'BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA'],
  ['gpp', 'DBABM~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA'],
  ['gpp', 'DBACNY~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN'],
  ['gpp', 'DBACNYA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN'],
  ['gpp', 'DBABL~BVQqAAAAAg'],
  ['gpp', 'DBABL~BVQVAAAAAg'],
  ['gpp', 'DBABTA~1YNN'],
  ['gpp', 'DBAA'],
];

const lines = [];
const print = (kind, text, damage, says) => lines.push(JSON.stringify({ kind, text, damaged: damage, says }));
for (const [kind, text] of PUBLISHED) {
  const says = attempt(kind === 'tcf' ? readTcf : readGpp, text);
  print(kind, text, says === null, says);
}
for (let i = 0; i < count; i++) {
  const tcf = tcfString();
  const said = readTcf(tcf);
  const restricted = Object.keys(said.restrictions).length > 0;
  print('tcf', tcf, false, said);
  const gpp = gppString();
  print('gpp', gpp, false, readGpp(gpp));
  const canadian = new GppModel(gpp).hasSection('tcfcav1');
  for (let j = 0; j < 3; j++) {
    const badTcf = damaged(tcf, restricted);
    print('tcf', badTcf, true, attempt(readTcf, badTcf));
    // The Canadian section maps to nothing, and nothing but its alphabet is looked at here.
    if (canadian) continue;
    const badGpp = damaged(gpp, false);
    print('gpp', badGpp, true, attempt(readGpp, badGpp));
  }
}
process.stdout.write(lines.join('\n') + '\n');
