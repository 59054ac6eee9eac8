CREATE TABLE counters (
	name VARCHAR NOT NULL,
	label VARCHAR NOT NULL,
	device VARCHAR NOT NULL,
	bucket VARCHAR NOT NULL,
	shard INTEGER NOT NULL,
	value FLOAT NOT NULL,
	PRIMARY KEY (name, label, device, bucket, shard)
);

CREATE TABLE events (
	id SERIAL NOT NULL,
	at BIGINT NOT NULL,
	actor VARCHAR NOT NULL,
	action VARCHAR NOT NULL,
	job INTEGER,
	part INTEGER,
	model VARCHAR,
	schedule VARCHAR,
	detail TEXT,
	PRIMARY KEY (id)
);

CREATE INDEX events_by_job ON events (job, id) WHERE job IS NOT NULL;

CREATE INDEX events_by_schedule ON events (schedule, id) WHERE schedule IS NOT NULL;

CREATE TABLE jobs (
	id SERIAL NOT NULL,
	kind VARCHAR NOT NULL,
	label VARCHAR,
	submitted_by VARCHAR NOT NULL,
	schedule VARCHAR,
	key VARCHAR,
	request VARCHAR,
	priority INTEGER NOT NULL,
	state VARCHAR NOT NULL,
	spec JSON NOT NULL,
	model VARCHAR NOT NULL,
	version INTEGER,
	after INTEGER,
	parts_total INTEGER NOT NULL,
	splits INTEGER DEFAULT '0' NOT NULL,
	parts_left INTEGER NOT NULL,
	rows_total BIGINT NOT NULL,
	rows_done BIGINT NOT NULL,
	rows_failed BIGINT NOT NULL,
	characters BIGINT NOT NULL,
	cancel_requested BOOLEAN NOT NULL,
	deleting BOOLEAN DEFAULT false NOT NULL,
	error TEXT,
	traceparent VARCHAR,
	turn BIGINT DEFAULT '0' NOT NULL,
	created_at BIGINT NOT NULL,
	started_at BIGINT,
	finished_at BIGINT,
	PRIMARY KEY (id),
	CONSTRAINT job_state CHECK (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
	CONSTRAINT job_counters CHECK (parts_left >= 0 and rows_done + rows_failed <= rows_total),
	UNIQUE (key),
	FOREIGN KEY(after) REFERENCES jobs (id)
)
 WITH (fillfactor = 80);

CREATE INDEX jobs_by_after ON jobs (after) WHERE after IS NOT NULL;

CREATE INDEX jobs_by_kind ON jobs (kind, id);

CREATE INDEX jobs_by_label ON jobs (label, id) WHERE label IS NOT NULL;

CREATE INDEX jobs_by_model ON jobs (model, id);

CREATE INDEX jobs_by_schedule ON jobs (schedule, id) WHERE schedule IS NOT NULL;

CREATE INDEX jobs_by_state ON jobs (state, id, kind);

CREATE INDEX jobs_by_submitter ON jobs (submitted_by, id);

CREATE INDEX jobs_by_turn ON jobs (kind, priority DESC, submitted_by, turn, id) WHERE finished_at IS NULL AND (after IS NULL OR version IS NOT NULL);

CREATE INDEX jobs_deleting ON jobs (id) WHERE deleting IS true;

CREATE TABLE models (
	name VARCHAR NOT NULL,
	validation JSON NOT NULL,
	newest INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE rounds (
	name VARCHAR NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE schedules (
	name VARCHAR NOT NULL,
	added_by VARCHAR NOT NULL,
	cron VARCHAR NOT NULL,
	timezone VARCHAR NOT NULL,
	request JSON NOT NULL,
	requested_at BIGINT NOT NULL,
	overlap VARCHAR NOT NULL,
	catch_up VARCHAR NOT NULL,
	deadline_s FLOAT,
	always BOOLEAN NOT NULL,
	on_success TEXT,
	on_failure TEXT,
	paused BOOLEAN NOT NULL,
	next_at BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE speeds (
	model VARCHAR NOT NULL,
	device VARCHAR NOT NULL,
	characters_per_s FLOAT NOT NULL,
	PRIMARY KEY (model, device)
);

CREATE TABLE store (
	id VARCHAR NOT NULL,
	schema_version INTEGER NOT NULL,
	serves INTEGER DEFAULT '1' NOT NULL,
	files TEXT,
	PRIMARY KEY (id)
);

CREATE TABLE submitters (
	kind VARCHAR NOT NULL,
	priority INTEGER NOT NULL,
	submitted_by VARCHAR NOT NULL,
	turn BIGINT NOT NULL,
	PRIMARY KEY (kind, priority, submitted_by)
);

CREATE INDEX submitters_by_turn ON submitters (kind, priority DESC, turn, submitted_by);

CREATE TABLE workers (
	owner VARCHAR NOT NULL,
	host VARCHAR NOT NULL,
	pid INTEGER NOT NULL,
	device VARCHAR NOT NULL,
	queues JSON NOT NULL,
	release VARCHAR,
	spec_version INTEGER,
	self_check VARCHAR,
	seen_at BIGINT NOT NULL,
	PRIMARY KEY (owner)
);

CREATE TABLE aliases (
	model VARCHAR NOT NULL,
	alias VARCHAR NOT NULL,
	version INTEGER NOT NULL,
	PRIMARY KEY (model, alias),
	FOREIGN KEY(model) REFERENCES models (name)
);

CREATE TABLE engines (
	job INTEGER NOT NULL,
	device VARCHAR NOT NULL,
	precision VARCHAR NOT NULL,
	release VARCHAR NOT NULL,
	commits INTEGER NOT NULL,
	first_at BIGINT NOT NULL,
	PRIMARY KEY (job, device, precision, release),
	FOREIGN KEY(job) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE TABLE metrics (
	job INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	step INTEGER NOT NULL,
	learning_rate FLOAT NOT NULL,
	train_loss FLOAT NOT NULL,
	val_loss FLOAT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (job, epoch),
	FOREIGN KEY(job) REFERENCES jobs (id)
);

CREATE TABLE parts (
	id SERIAL NOT NULL,
	job INTEGER NOT NULL,
	number INTEGER NOT NULL,
	spec_version INTEGER NOT NULL,
	state VARCHAR NOT NULL,
	first_row BIGINT NOT NULL,
	rows BIGINT NOT NULL,
	span INTEGER DEFAULT '1' NOT NULL,
	frame_offset BIGINT NOT NULL,
	frame_row BIGINT NOT NULL,
	attempts INTEGER NOT NULL,
	token INTEGER NOT NULL,
	owner VARCHAR,
	lease_until BIGINT,
	progress JSON,
	checkpoint JSON,
	output JSON,
	error TEXT,
	PRIMARY KEY (id),
	UNIQUE (job, first_row),
	CONSTRAINT part_state CHECK (state in ('queued', 'leased', 'done', 'failed', 'cancelled')),
	CONSTRAINT part_span CHECK (span >= 1),
	CONSTRAINT part_lease CHECK ((state = 'leased') = (lease_until is not null)),
	FOREIGN KEY(job) REFERENCES jobs (id)
)
 WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);

CREATE INDEX parts_leased ON parts (job, owner) WHERE state = 'leased';

CREATE INDEX parts_lost ON parts (job) WHERE state IN ('failed', 'cancelled');

CREATE INDEX parts_queued ON parts (job, number) WHERE state = 'queued';

CREATE TABLE previews (
	job INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	temperature FLOAT NOT NULL,
	seed TEXT NOT NULL,
	text TEXT NOT NULL,
	PRIMARY KEY (job, epoch, temperature),
	FOREIGN KEY(job) REFERENCES jobs (id)
);

CREATE TABLE reports (
	id SERIAL NOT NULL,
	job INTEGER NOT NULL,
	report JSON NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(job) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX reports_by_job ON reports (job, id);

CREATE TABLE slots (
	schedule VARCHAR NOT NULL,
	at BIGINT NOT NULL,
	state VARCHAR NOT NULL,
	by_hand BOOLEAN NOT NULL,
	job INTEGER,
	then_job INTEGER,
	reason TEXT,
	claimed_until BIGINT NOT NULL,
	hook_at BIGINT,
	hook_attempts INTEGER NOT NULL,
	hook_error TEXT,
	PRIMARY KEY (schedule, at),
	CONSTRAINT slot_state CHECK (state in ('due', 'submitted', 'unchanged', 'skipped', 'expired', 'failed')),
	FOREIGN KEY(schedule) REFERENCES schedules (name)
);

CREATE INDEX slots_by_hook ON slots (hook_at) WHERE hook_at IS NOT NULL;

CREATE INDEX slots_by_state ON slots (state);

CREATE TABLE versions (
	model VARCHAR NOT NULL,
	version INTEGER NOT NULL,
	job INTEGER,
	files JSON NOT NULL,
	characters TEXT NOT NULL,
	network JSON NOT NULL,
	val_loss FLOAT NOT NULL,
	skipped INTEGER NOT NULL,
	precision VARCHAR NOT NULL,
	release VARCHAR,
	gate JSON NOT NULL,
	promoted_at BIGINT,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (model, version),
	FOREIGN KEY(model) REFERENCES models (name),
	FOREIGN KEY(job) REFERENCES jobs (id)
);

