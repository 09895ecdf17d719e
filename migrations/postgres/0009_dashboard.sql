-- What happened in which minute (since 1970): public snippets more or fewer, and views. A minute has several rows,
-- one for each lane, so that writers at the same time seldom wait for each other. Minute 0 is the sum of all that
-- is too old to be asked for by itself.
CREATE TABLE dashboard_counts (
    kind   TEXT   NOT NULL CHECK (kind IN ('snippets', 'views')),
    minute BIGINT NOT NULL,
    lane   BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (kind, minute, lane)
);

INSERT INTO dashboard_counts (kind, minute, lane, amount)
SELECT 'snippets', 0, 0, COUNT(*) FROM snippets WHERE visibility = 'public';

-- The hour in which a user was last seen; who was not seen for two days is forgotten.
CREATE TABLE dashboard_users (
    user_id UUID   PRIMARY KEY,
    hour    BIGINT NOT NULL
);

-- How many users were seen in an hour who had been seen before in that other hour, or never (-1). The users seen in
-- any span of hours are those who were seen in it for the first time: before it began.
CREATE TABLE dashboard_sightings (
    hour   BIGINT NOT NULL,
    before BIGINT NOT NULL,
    users  BIGINT NOT NULL,
    PRIMARY KEY (hour, before)
);
