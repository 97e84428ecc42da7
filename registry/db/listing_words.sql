-- Keeps `listing_words` equal to what `adapters` say, and `vocabulary` to what those ever said.

-- Downloads, in steps of a fifth: they change every night, and rows that have words are slow to
-- change, since every word of another version of a row goes into the index again.
CREATE FUNCTION popularity(downloads bigint) RETURNS smallint IMMUTABLE LANGUAGE sql AS $$
    SELECT floor(4 * ln(1 + greatest(downloads, 0)::float) / ln(2::float))::smallint
$$;

CREATE FUNCTION list_words(wanted bigint[]) RETURNS void LANGUAGE sql AS $$
    WITH said AS (
        SELECT
            adapters.id,
            strip(to_tsvector('simple', adapters.words)) AS words,
            lower(adapters.name) AS name,
            lower(regexp_replace(adapters.file_name, '^.*/|\.[^./]*$', '', 'g')) AS file_stem,
            string_to_array(lower(array_to_string(adapters.trigger_words, E'\n')), E'\n')
                AS trigger_words,
            popularity(adapters.downloads) AS popularity
        FROM adapters JOIN listings ON listings.adapter_id = adapters.id
        WHERE adapters.id = ANY (wanted)
    )
    INSERT INTO listing_words (adapter_id, words_vector, called, popularity)
    SELECT
        said.id,
        said.words || array_to_tsvector(ARRAY(
            SELECT '=' || word FROM unnest(tsvector_to_array(said.words)) AS word
            WHERE strpos(said.name || ' ' || array_to_string(said.trigger_words, ' '), word) > 0
        )),
        said.name || (said.file_stem || said.trigger_words),
        said.popularity
    FROM said
    ON CONFLICT (adapter_id) DO UPDATE SET
        words_vector = excluded.words_vector,
        called = excluded.called,
        popularity = excluded.popularity
    WHERE listing_words.* IS DISTINCT FROM excluded.*;

    -- Two who add a word at once add it twice: a unique index would let them wait for each other.
    INSERT INTO vocabulary (word)
    SELECT DISTINCT word
    FROM listing_words, unnest(tsvector_to_array(words_vector)) AS word
    WHERE adapter_id = ANY (wanted) AND NOT starts_with(word, '=')
        AND NOT EXISTS (SELECT FROM vocabulary WHERE vocabulary.word = word.word);
$$;

CREATE FUNCTION list_words_of_adapter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM list_words(ARRAY[NEW.id]);
    RETURN NULL;
END $$;

-- Triggers fire in the order of their names: `list_inserted_adapter` has made the listing by then.
CREATE TRIGGER list_words_of_inserted_adapter AFTER INSERT ON adapters
    FOR EACH ROW WHEN (NEW.state = 'ready') EXECUTE FUNCTION list_words_of_adapter();

CREATE TRIGGER list_words_of_updated_adapter
    AFTER UPDATE OF state, file_sha256, file_name, name, trigger_words, words ON adapters
    FOR EACH ROW WHEN (NEW.state = 'ready') EXECUTE FUNCTION list_words_of_adapter();

CREATE FUNCTION list_popularity_of_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE listing_words SET popularity = popularity(NEW.downloads) WHERE adapter_id = NEW.id;
    RETURN NULL;
END $$;

CREATE TRIGGER list_words_of_downloaded_adapter AFTER UPDATE OF downloads ON adapters
    FOR EACH ROW
    WHEN (NEW.state = 'ready' AND popularity(NEW.downloads) <> popularity(OLD.downloads))
    EXECUTE FUNCTION list_popularity_of_words();

-- Found among thousands of rows that PostgreSQL's default would take for rare.
ALTER TABLE listing_words ALTER COLUMN words_vector SET STATISTICS 300;
