-- An empty ledger of schema 3 as it was made on PostgreSQL: what later programs must take forward.
CREATE TABLE analysis (
    instance_id bigint NOT NULL,
    bundle_sha256 text NOT NULL COLLATE pg_catalog."C",
    finding text NOT NULL COLLATE pg_catalog."C",
    folder text COLLATE pg_catalog."C",
    folder_sha256 text COLLATE pg_catalog."C",
    made_at double precision NOT NULL
);
CREATE TABLE audit (
    seq bigint NOT NULL,
    previous text NOT NULL COLLATE pg_catalog."C",
    at double precision NOT NULL,
    event text NOT NULL COLLATE pg_catalog."C",
    study_instance_uid text NOT NULL COLLATE pg_catalog."C",
    sop_instance_uid text NOT NULL COLLATE pg_catalog."C",
    detail text NOT NULL COLLATE pg_catalog."C",
    facts text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE commitment (
    delivery_id bigint NOT NULL,
    destination text NOT NULL COLLATE pg_catalog."C",
    demand text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    attempts bigint NOT NULL,
    sent_again bigint NOT NULL,
    run_after double precision NOT NULL,
    first_asked_at double precision,
    settled_at double precision,
    last_error text COLLATE pg_catalog."C"
);
CREATE TABLE commitment_request (
    transaction_uid text NOT NULL COLLATE pg_catalog."C",
    delivery_id bigint NOT NULL,
    asked_at double precision NOT NULL,
    answered_at double precision
);
CREATE TABLE delivery (
    id bigint NOT NULL,
    version_id bigint NOT NULL,
    study_id bigint NOT NULL,
    destination text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    attempts bigint NOT NULL,
    interrupted bigint NOT NULL,
    created_at double precision NOT NULL,
    run_after double precision NOT NULL,
    last_error text COLLATE pg_catalog."C",
    done_at double precision
);
CREATE SEQUENCE delivery_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE delivery_id_seq OWNED BY delivery.id;
CREATE TABLE delivery_slot (
    delivery_id bigint NOT NULL,
    number bigint NOT NULL,
    slot text NOT NULL COLLATE pg_catalog."C",
    "position" bigint,
    status bigint,
    note text NOT NULL COLLATE pg_catalog."C",
    committed_at double precision,
    failure bigint
);
CREATE TABLE destination (
    name text NOT NULL COLLATE pg_catalog."C",
    accepted text COLLATE pg_catalog."C",
    reached_at double precision,
    failed_at double precision,
    failures bigint NOT NULL,
    last_error text COLLATE pg_catalog."C"
);
CREATE TABLE instance (
    id bigint NOT NULL,
    study_id bigint NOT NULL,
    sop_instance_uid text NOT NULL COLLATE pg_catalog."C",
    sop_class_uid text NOT NULL COLLATE pg_catalog."C",
    series_instance_uid text NOT NULL COLLATE pg_catalog."C",
    transfer_syntax_uid text NOT NULL COLLATE pg_catalog."C",
    modality text NOT NULL COLLATE pg_catalog."C",
    sha256 text NOT NULL COLLATE pg_catalog."C",
    size bigint NOT NULL,
    spool_key text NOT NULL COLLATE pg_catalog."C",
    received_at double precision NOT NULL,
    calling_ae text NOT NULL COLLATE pg_catalog."C",
    role text NOT NULL COLLATE pg_catalog."C",
    reason_code text COLLATE pg_catalog."C",
    reason_text text COLLATE pg_catalog."C",
    is_current boolean NOT NULL,
    storage text DEFAULT 'spool'::text NOT NULL COLLATE pg_catalog."C"
);
CREATE SEQUENCE instance_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE instance_id_seq OWNED BY instance.id;
CREATE TABLE job (
    id bigint NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    instance_id bigint,
    version_id bigint,
    state text NOT NULL COLLATE pg_catalog."C",
    priority bigint NOT NULL,
    fence bigint NOT NULL,
    attempts bigint NOT NULL,
    crashes bigint NOT NULL,
    created_at double precision NOT NULL,
    run_after double precision NOT NULL,
    lease_until double precision,
    last_error text COLLATE pg_catalog."C"
);
CREATE SEQUENCE job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE job_id_seq OWNED BY job.id;
CREATE TABLE progress (
    name text NOT NULL COLLATE pg_catalog."C",
    value bigint NOT NULL
);
CREATE TABLE result_object (
    version_id bigint NOT NULL,
    "position" bigint NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    slot text NOT NULL COLLATE pg_catalog."C",
    sop_class_uid text NOT NULL COLLATE pg_catalog."C",
    sop_instance_uid text NOT NULL COLLATE pg_catalog."C",
    series_instance_uid text NOT NULL COLLATE pg_catalog."C",
    transfer_syntax_uid text NOT NULL COLLATE pg_catalog."C",
    file text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE schema_version (
    version bigint NOT NULL
);
CREATE SEQUENCE schema_version_version_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE schema_version_version_seq OWNED BY schema_version.version;
CREATE TABLE study (
    id bigint NOT NULL,
    study_instance_uid text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    first_received_at double precision NOT NULL,
    last_received_at double precision NOT NULL,
    first_unreported_at double precision,
    closes_at double precision NOT NULL,
    purged_at double precision
);
CREATE SEQUENCE study_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE study_id_seq OWNED BY study.id;
CREATE TABLE version (
    id bigint NOT NULL,
    study_id bigint NOT NULL,
    number bigint NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    closed_at double precision NOT NULL,
    predecessor_id bigint,
    outcome text COLLATE pg_catalog."C",
    probability double precision,
    reason_code text COLLATE pg_catalog."C",
    reason_text text COLLATE pg_catalog."C",
    bundle_sha256 text COLLATE pg_catalog."C",
    folder text COLLATE pg_catalog."C",
    folder_sha256 text COLLATE pg_catalog."C",
    published_at double precision
);
CREATE SEQUENCE version_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE version_id_seq OWNED BY version.id;
CREATE TABLE version_instance (
    version_id bigint NOT NULL,
    instance_id bigint NOT NULL
);
ALTER TABLE ONLY delivery ALTER COLUMN id SET DEFAULT nextval('delivery_id_seq'::regclass);
ALTER TABLE ONLY instance ALTER COLUMN id SET DEFAULT nextval('instance_id_seq'::regclass);
ALTER TABLE ONLY job ALTER COLUMN id SET DEFAULT nextval('job_id_seq'::regclass);
ALTER TABLE ONLY schema_version ALTER COLUMN version SET DEFAULT nextval('schema_version_version_seq'::regclass);
ALTER TABLE ONLY study ALTER COLUMN id SET DEFAULT nextval('study_id_seq'::regclass);
ALTER TABLE ONLY version ALTER COLUMN id SET DEFAULT nextval('version_id_seq'::regclass);
INSERT INTO schema_version VALUES (3);
SELECT pg_catalog.setval('delivery_id_seq', 1, false);
SELECT pg_catalog.setval('instance_id_seq', 1, false);
SELECT pg_catalog.setval('job_id_seq', 1, false);
SELECT pg_catalog.setval('schema_version_version_seq', 1, false);
SELECT pg_catalog.setval('study_id_seq', 1, false);
SELECT pg_catalog.setval('version_id_seq', 1, false);
ALTER TABLE ONLY analysis
    ADD CONSTRAINT analysis_pkey PRIMARY KEY (instance_id, bundle_sha256);
ALTER TABLE ONLY audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY commitment
    ADD CONSTRAINT commitment_pkey PRIMARY KEY (delivery_id);
ALTER TABLE ONLY commitment_request
    ADD CONSTRAINT commitment_request_pkey PRIMARY KEY (transaction_uid);
ALTER TABLE ONLY delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY delivery_slot
    ADD CONSTRAINT delivery_slot_pkey PRIMARY KEY (delivery_id, number);
ALTER TABLE ONLY delivery
    ADD CONSTRAINT delivery_version_id_destination_key UNIQUE (version_id, destination);
ALTER TABLE ONLY destination
    ADD CONSTRAINT destination_pkey PRIMARY KEY (name);
ALTER TABLE ONLY instance
    ADD CONSTRAINT instance_pkey PRIMARY KEY (id);
ALTER TABLE ONLY instance
    ADD CONSTRAINT instance_sop_instance_uid_sha256_key UNIQUE (sop_instance_uid, sha256);
ALTER TABLE ONLY job
    ADD CONSTRAINT job_key_key UNIQUE (key);
ALTER TABLE ONLY job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY progress
    ADD CONSTRAINT progress_pkey PRIMARY KEY (name);
ALTER TABLE ONLY result_object
    ADD CONSTRAINT result_object_pkey PRIMARY KEY (version_id, "position");
ALTER TABLE ONLY schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY study
    ADD CONSTRAINT study_pkey PRIMARY KEY (id);
ALTER TABLE ONLY study
    ADD CONSTRAINT study_study_instance_uid_key UNIQUE (study_instance_uid);
ALTER TABLE ONLY version_instance
    ADD CONSTRAINT version_instance_pkey PRIMARY KEY (version_id, instance_id);
ALTER TABLE ONLY version
    ADD CONSTRAINT version_pkey PRIMARY KEY (id);
ALTER TABLE ONLY version
    ADD CONSTRAINT version_study_id_number_key UNIQUE (study_id, number);
CREATE INDEX audit_event ON audit USING btree (event, seq);
CREATE INDEX audit_study ON audit USING btree (study_instance_uid, seq);
CREATE INDEX commitment_due ON commitment USING btree (destination, state, run_after);
CREATE INDEX delivery_due ON delivery USING btree (destination, state, run_after);
CREATE INDEX delivery_state ON delivery USING btree (state);
CREATE INDEX delivery_study ON delivery USING btree (study_id, destination, state);
CREATE UNIQUE INDEX instance_spool_key ON instance USING btree (spool_key);
CREATE INDEX ix_commitment_request_delivery_id ON commitment_request USING btree (delivery_id);
CREATE INDEX ix_instance_study_id ON instance USING btree (study_id);
CREATE INDEX ix_job_instance_id ON job USING btree (instance_id);
CREATE INDEX ix_job_version_id ON job USING btree (version_id);
CREATE INDEX ix_result_object_sop_instance_uid ON result_object USING btree (sop_instance_uid);
CREATE INDEX ix_study_purged_at ON study USING btree (purged_at);
CREATE INDEX job_due ON job USING btree (state, priority, run_after);
CREATE INDEX study_due ON study USING btree (state, closes_at);
CREATE INDEX version_state ON version USING btree (state);
ALTER TABLE ONLY analysis
    ADD CONSTRAINT analysis_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instance(id);
ALTER TABLE ONLY commitment
    ADD CONSTRAINT commitment_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES delivery(id);
ALTER TABLE ONLY commitment_request
    ADD CONSTRAINT commitment_request_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES delivery(id);
ALTER TABLE ONLY delivery_slot
    ADD CONSTRAINT delivery_slot_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES delivery(id);
ALTER TABLE ONLY delivery
    ADD CONSTRAINT delivery_study_id_fkey FOREIGN KEY (study_id) REFERENCES study(id);
ALTER TABLE ONLY delivery
    ADD CONSTRAINT delivery_version_id_fkey FOREIGN KEY (version_id) REFERENCES version(id);
ALTER TABLE ONLY instance
    ADD CONSTRAINT instance_study_id_fkey FOREIGN KEY (study_id) REFERENCES study(id);
ALTER TABLE ONLY job
    ADD CONSTRAINT job_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instance(id);
ALTER TABLE ONLY job
    ADD CONSTRAINT job_version_id_fkey FOREIGN KEY (version_id) REFERENCES version(id);
ALTER TABLE ONLY result_object
    ADD CONSTRAINT result_object_version_id_fkey FOREIGN KEY (version_id) REFERENCES version(id);
ALTER TABLE ONLY version_instance
    ADD CONSTRAINT version_instance_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instance(id);
ALTER TABLE ONLY version_instance
    ADD CONSTRAINT version_instance_version_id_fkey FOREIGN KEY (version_id) REFERENCES version(id);
ALTER TABLE ONLY version
    ADD CONSTRAINT version_predecessor_id_fkey FOREIGN KEY (predecessor_id) REFERENCES version(id);
ALTER TABLE ONLY version
    ADD CONSTRAINT version_study_id_fkey FOREIGN KEY (study_id) REFERENCES study(id);
