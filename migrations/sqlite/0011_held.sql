-- A write names the credential that allows it; this refuses the write when the credential has ended. Being a statement
-- like the others, it is handed over together with them.
CREATE VIEW held_credentials AS SELECT id FROM credentials;

CREATE TRIGGER credential_held INSTEAD OF INSERT ON held_credentials
WHEN NOT EXISTS (SELECT 1 FROM credentials WHERE id = new.id) BEGIN
    SELECT RAISE(ABORT, 'the credential has ended');
END;
