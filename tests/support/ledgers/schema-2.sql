-- A ledger of schema 2 with one answered study, as the program of that schema wrote it.
BEGIN TRANSACTION;
CREATE TABLE analysis (
	instance_id INTEGER NOT NULL, 
	bundle_sha256 TEXT NOT NULL, 
	finding TEXT NOT NULL, 
	folder TEXT, 
	folder_sha256 TEXT, 
	made_at FLOAT NOT NULL, 
	PRIMARY KEY (instance_id, bundle_sha256), 
	FOREIGN KEY(instance_id) REFERENCES instance (id)
);
INSERT INTO "analysis" VALUES(1,'bundle','{}',NULL,NULL,101.0);
CREATE TABLE delivery (
	id INTEGER NOT NULL, 
	version_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	destination TEXT NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	created_at FLOAT NOT NULL, 
	run_after FLOAT NOT NULL, 
	last_error TEXT, 
	done_at FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (version_id, destination), 
	FOREIGN KEY(version_id) REFERENCES version (id), 
	FOREIGN KEY(study_id) REFERENCES study (id)
);
INSERT INTO "delivery" VALUES(1,1,1,'pacs','ready',0,102.0,102.0,NULL,NULL);
CREATE TABLE history (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	event TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "history" VALUES(1,100.0,'1.2.3','1.2.3.1','instance.stored','view');
INSERT INTO "history" VALUES(2,100.0,'1.2.3','1.2.3.2','instance.stored','not analysed: modality MR');
INSERT INTO "history" VALUES(3,101.0,'1.2.3','','study.closed','version 1 of 1 radiographs');
INSERT INTO "history" VALUES(4,102.0,'1.2.3','','result.published','version 1: inconclusive, between');
INSERT INTO "history" VALUES(5,103.0,'','1.2.9','instance.refused','0xA900: other UID');
CREATE TABLE instance (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	sop_class_uid TEXT NOT NULL, 
	series_instance_uid TEXT NOT NULL, 
	transfer_syntax_uid TEXT NOT NULL, 
	modality TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	spool_key TEXT NOT NULL, 
	received_at FLOAT NOT NULL, 
	calling_ae TEXT NOT NULL, 
	role TEXT NOT NULL, 
	reason_code TEXT, 
	reason_text TEXT, 
	is_current BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (sop_instance_uid, sha256), 
	FOREIGN KEY(study_id) REFERENCES study (id)
);
INSERT INTO "instance" VALUES(1,1,'1.2.3.1','1.2.840.10008.5.1.4.1.1.1','1.2.3.1','1.2.840.10008.1.2.1','CR','6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37',6,'39/394144d60b08babbb485e0f82c86b7a78b856f92222ffaa94549f3fda0fc35e2',100.0,'PACS','view',NULL,NULL,1);
INSERT INTO "instance" VALUES(2,1,'1.2.3.2','1.2.840.10008.5.1.4.1.1.1','1.2.3.1','1.2.840.10008.1.2.1','CR','6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37',6,'88/881b39e75f1ca876a049bd905922e8f62398b632921d4d5e53fcbf2557b9e5c7',100.0,'PACS','kept','modality-out-of-scope','not analysed: modality MR',1);
CREATE TABLE job (
	id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	instance_id INTEGER, 
	version_id INTEGER, 
	state TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	fence INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	created_at FLOAT NOT NULL, 
	run_after FLOAT NOT NULL, 
	lease_until FLOAT, 
	last_error TEXT, 
	PRIMARY KEY (id), 
	UNIQUE ("key"), 
	FOREIGN KEY(instance_id) REFERENCES instance (id), 
	FOREIGN KEY(version_id) REFERENCES version (id)
);
INSERT INTO "job" VALUES(1,'analyse','analyse:1:bundle',1,NULL,'done',1,1,0,0,100.0,100.0,NULL,NULL);
INSERT INTO "job" VALUES(2,'compose','compose:1',NULL,1,'done',0,1,0,0,101.0,101.0,NULL,NULL);
CREATE TABLE result_object (
	version_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	slot TEXT NOT NULL, 
	sop_class_uid TEXT NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	series_instance_uid TEXT NOT NULL, 
	transfer_syntax_uid TEXT NOT NULL, 
	file TEXT NOT NULL, 
	PRIMARY KEY (version_id, position), 
	FOREIGN KEY(version_id) REFERENCES version (id)
);
INSERT INTO "result_object" VALUES(1,0,'sr','sr','1.2','2.25.1','2.25.9','1.2.840.10008.1.2.1','f');
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(2);
CREATE TABLE study (
	id INTEGER NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	state TEXT NOT NULL, 
	first_received_at FLOAT NOT NULL, 
	last_received_at FLOAT NOT NULL, 
	first_unreported_at FLOAT, 
	closes_at FLOAT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (study_instance_uid)
);
INSERT INTO "study" VALUES(1,'1.2.3','closed',100.0,100.0,NULL,100.0);
CREATE TABLE version (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	closed_at FLOAT NOT NULL, 
	predecessor_id INTEGER, 
	outcome TEXT, 
	probability FLOAT, 
	reason_code TEXT, 
	reason_text TEXT, 
	bundle_sha256 TEXT, 
	folder TEXT, 
	folder_sha256 TEXT, 
	published_at FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (study_id, number), 
	FOREIGN KEY(study_id) REFERENCES study (id), 
	FOREIGN KEY(predecessor_id) REFERENCES version (id)
);
INSERT INTO "version" VALUES(1,1,1,'published',101.0,NULL,'inconclusive',0.25,'x','between','bundle','results/1','0',102.0);
CREATE TABLE version_instance (
	version_id INTEGER NOT NULL, 
	instance_id INTEGER NOT NULL, 
	PRIMARY KEY (version_id, instance_id), 
	FOREIGN KEY(version_id) REFERENCES version (id), 
	FOREIGN KEY(instance_id) REFERENCES instance (id)
);
INSERT INTO "version_instance" VALUES(1,1);
CREATE INDEX study_due ON study (state, closes_at);
CREATE INDEX history_study ON history (study_instance_uid, id);
CREATE INDEX ix_instance_study_id ON instance (study_id);
CREATE INDEX version_state ON version (state);
CREATE INDEX job_due ON job (state, priority, run_after);
CREATE INDEX ix_job_version_id ON job (version_id);
CREATE INDEX ix_job_instance_id ON job (instance_id);
CREATE INDEX ix_result_object_sop_instance_uid ON result_object (sop_instance_uid);
CREATE INDEX delivery_due ON delivery (destination, state, run_after);
CREATE INDEX delivery_study ON delivery (study_id, destination, state);
COMMIT;
