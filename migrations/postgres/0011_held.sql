-- A write names the credential that allows it; this refuses the write when the credential has ended, and else keeps it
-- from ending before the write. PostgreSQL locks in the order in which a statement names the tables: the user comes
-- first, always.
CREATE FUNCTION hold_credential(held uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM users u JOIN credentials c ON c.user_id = u.id WHERE c.id = held FOR KEY SHARE OF u, c;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the credential has ended';
    END IF;
END
$$;
