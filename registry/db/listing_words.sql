-- Keeps `listing_words` equal to what `adapters` and `listings` say, and `vocabulary` to what those
-- ever said.

-- Downloads, in steps of a fifth: they change every night, and rows that have words are slow to
-- change, since every word of another version of a row goes into the index again.
CREATE OR REPLACE FUNCTION popularity(downloads bigint) RETURNS smallint IMMUTABLE LANGUAGE sql AS $$
    SELECT floor(4 * ln(1 + greatest(downloads, 0)::float) / ln(2::float))::smallint
$$;

-- What filters ask of a listing but for ranges (`registry.retrieval.filters` asks for the same
-- texts), and its downloads in steps of four: of a common word the most popular are looked at.
CREATE OR REPLACE FUNCTION facts_of(listing listings) RETURNS text[] IMMUTABLE LANGUAGE sql AS $$
    SELECT array_remove(ARRAY[
        'base_model=' || listing.base_model,
        'author=' || listing.author,
        'hub=' || listing.hub,
        'licence=' || listing.licence,
        'trainer=' || listing.trainer,
        'popularity=' || popularity(listing.downloads) / 8,
        CASE WHEN listing.commercial THEN 'commercial' END,
        CASE WHEN listing.has_trigger_words THEN 'trigger_words' END,
        CASE WHEN listing.fusable THEN 'fusable' END,
        CASE WHEN listing.mature THEN 'mature' END
    ], NULL) || ARRAY(SELECT 'tag=' || tag FROM unnest(listing.tags) AS tag)
$$;

CREATE OR REPLACE FUNCTION list_words(wanted bigint[]) RETURNS void LANGUAGE sql AS $$
    WITH said AS (
        SELECT
            adapters.id,
            strip(to_tsvector('simple', adapters.words)) AS words,
            strip(to_tsvector('simple', split_part(adapters.words, E'\n', 1))) AS of_names,
            strip(to_tsvector('simple', split_part(adapters.words, E'\n', 2))) AS of_author,
            strip(to_tsvector('simple', split_part(adapters.words, E'\n', 3))) AS of_others,
            nullif(split_part(split_part(adapters.words, E'\n', 2), ' ', 1), '') AS whole_author,
            lower(adapters.name) AS name,
            lower(regexp_replace(adapters.file_name, '^.*/|\.[^./]*$', '', 'g')) AS file_stem,
            string_to_array(lower(array_to_string(adapters.trigger_words, E'\n')), E'\n')
                AS trigger_words,
            facts_of(listings) AS facts,
            popularity(adapters.downloads) AS popularity
        FROM adapters JOIN listings ON listings.adapter_id = adapters.id
        WHERE adapters.id = ANY (wanted)
    )
    INSERT INTO listing_words (adapter_id, words_vector, called, facts, popularity)
    SELECT
        said.id,
        said.words || array_to_tsvector(array_remove(
            ARRAY(SELECT '=' || word FROM unnest(tsvector_to_array(said.of_names)) AS word)
            || ARRAY(
                SELECT '@' || word FROM unnest(tsvector_to_array(said.of_author)) AS word
                EXCEPT SELECT '@' || word
                FROM unnest(tsvector_to_array(said.of_names || said.of_others)) AS word
            )
            || ('@=' || said.whole_author),
            NULL
        )),
        said.name || (said.file_stem || said.trigger_words),
        said.facts,
        said.popularity
    FROM said
    ON CONFLICT (adapter_id) DO UPDATE SET
        words_vector = excluded.words_vector,
        called = excluded.called,
        facts = excluded.facts,
        popularity = excluded.popularity
    WHERE listing_words.* IS DISTINCT FROM excluded.*;

    -- Two who add a word at once add it twice: a unique index would let them wait for each other.
    INSERT INTO vocabulary (word)
    SELECT DISTINCT word
    FROM listing_words, unnest(tsvector_to_array(words_vector)) AS word
    WHERE adapter_id = ANY (wanted) AND word !~ '^[=@]'
        AND NOT EXISTS (SELECT FROM vocabulary WHERE vocabulary.word = word.word);
$$;

CREATE OR REPLACE FUNCTION list_words_of_adapter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM list_words(ARRAY[NEW.id]);
    RETURN NULL;
END $$;

-- Triggers fire in the order of their names: `list_inserted_adapter` has made the listing by then.
CREATE OR REPLACE TRIGGER list_words_of_inserted_adapter AFTER INSERT ON adapters
    FOR EACH ROW WHEN (NEW.state = 'ready') EXECUTE FUNCTION list_words_of_adapter();

CREATE OR REPLACE TRIGGER list_words_of_updated_adapter
    AFTER UPDATE OF state, file_sha256, file_name, name, trigger_words, words ON adapters
    FOR EACH ROW WHEN (NEW.state = 'ready') EXECUTE FUNCTION list_words_of_adapter();

CREATE OR REPLACE FUNCTION list_facts_of_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE listing_words SET facts = facts_of(NEW), popularity = popularity(NEW.downloads)
    WHERE adapter_id = NEW.adapter_id;
    RETURN NULL;
END $$;

-- One that is inserted has no words yet: they come with its facts. Columns are compared, which takes
-- less than to tell facts: downloads change every night.
CREATE OR REPLACE TRIGGER list_facts_of_updated_listing AFTER UPDATE ON listings
    FOR EACH ROW
    WHEN ((
        popularity(NEW.downloads), NEW.base_model, NEW.author, NEW.hub, NEW.licence, NEW.trainer, NEW.tags,
        NEW.commercial, NEW.has_trigger_words, NEW.fusable, NEW.mature
    ) IS DISTINCT FROM (
        popularity(OLD.downloads), OLD.base_model, OLD.author, OLD.hub, OLD.licence, OLD.trainer, OLD.tags,
        OLD.commercial, OLD.has_trigger_words, OLD.fusable, OLD.mature
    ))
    EXECUTE FUNCTION list_facts_of_words();

-- Found among thousands of rows that PostgreSQL's default would take for rare.
ALTER TABLE listing_words ALTER COLUMN words_vector SET STATISTICS 300;
