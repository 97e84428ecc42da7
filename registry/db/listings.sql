-- Keeps `listings` equal to what `adapters` and `files` say: one row for each ready adapter.

-- Whether a licence lets pictures be sold: registry/fusion/licences.py sorts names the same way.
CREATE OR REPLACE FUNCTION permits_selling(licence text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT coalesce(
        name !~ '(^|[-_ ])nd([-_ ]|$)|no-?derivat'
        AND name !~ '(^|[-_ ])nc([-_ ]|$)|non-?commercial|research|flux-?1-dev|fluxdev'
        AND (
            name ~ '(^|[-_ ])sa([-_ ]|$)|gpl|rail|copyleft|mpl|community|gemma|llama'
            OR name ~ 'apache|mit\M|bsd|isc\M|cc0|(^|[-_ ])cc-by(-\d|$)'
            OR name ~ 'unlicense|public-?domain|wtfpl'
        ),
        false
    )
    FROM lower(trim(licence)) AS name
$$;

CREATE OR REPLACE FUNCTION list_adapters(wanted bigint[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM listings USING adapters
    WHERE listings.adapter_id = adapters.id AND adapters.id = ANY (wanted)
        AND adapters.state <> 'ready';

    INSERT INTO listings (
        adapter_id, file_sha256, base_model, name, author, hub, tags, licence, commercial, trainer,
        rank, size, downloads, created_at, updated_at, has_trigger_words, fusable, mature
    )
    SELECT
        adapters.id,
        files.sha256,
        adapters.base_model,
        lower(adapters.name),
        lower(adapters.author),
        lower(adapters.hub),
        -- Once each: whoever counts them would count "LoRA, lora" twice.
        ARRAY(SELECT DISTINCT lower(tag) FROM unnest(adapters.tags) AS tag ORDER BY 1),
        lower(adapters.licence),
        permits_selling(adapters.licence),
        lower(files.verdict ->> 'trainer'),
        coalesce((files.verdict -> 'ranks' ->> 1)::integer, 0),
        files.size,
        adapters.downloads,
        adapters.hub_created_at,
        adapters.hub_updated_at,
        cardinality(adapters.trigger_words) > 0,
        coalesce((files.verdict ->> 'fusable')::boolean, false),
        adapters.mature
    FROM adapters JOIN files ON files.sha256 = adapters.file_sha256
    WHERE adapters.id = ANY (wanted) AND adapters.state = 'ready'
    ON CONFLICT (adapter_id) DO UPDATE SET
        file_sha256 = excluded.file_sha256,
        base_model = excluded.base_model,
        name = excluded.name,
        author = excluded.author,
        hub = excluded.hub,
        tags = excluded.tags,
        licence = excluded.licence,
        commercial = excluded.commercial,
        trainer = excluded.trainer,
        rank = excluded.rank,
        size = excluded.size,
        downloads = excluded.downloads,
        created_at = excluded.created_at,
        updated_at = excluded.updated_at,
        has_trigger_words = excluded.has_trigger_words,
        fusable = excluded.fusable,
        mature = excluded.mature
    -- Untouched rows cost no entries in the indexes.
    WHERE listings.* IS DISTINCT FROM excluded.*;
$$;

CREATE OR REPLACE FUNCTION list_adapter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM list_adapters(ARRAY[NEW.id]);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION list_adapters_of_file() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted bigint[];
BEGIN
    -- Locked before they are read: whoever is changing one has listed it with what the file said
    -- before, and what he did would be overwritten by what the adapter said before.
    wanted := ARRAY(
        SELECT id FROM adapters WHERE file_sha256 = NEW.sha256 ORDER BY id FOR NO KEY UPDATE
    );
    PERFORM list_adapters(wanted);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER list_inserted_adapter AFTER INSERT ON adapters
    FOR EACH ROW WHEN (NEW.state = 'ready') EXECUTE FUNCTION list_adapter();

-- A crawl notes of every adapter that it saw it: that changes nothing here.
CREATE OR REPLACE TRIGGER list_updated_adapter
    AFTER UPDATE OF
        state, file_sha256, base_model, name, author, hub, tags, trigger_words, licence, mature,
        downloads, hub_created_at, hub_updated_at
    ON adapters
    FOR EACH ROW WHEN (NEW.state = 'ready' OR OLD.state = 'ready')
    EXECUTE FUNCTION list_adapter();

CREATE OR REPLACE TRIGGER list_updated_file AFTER UPDATE OF verdict, size ON files
    FOR EACH ROW EXECUTE FUNCTION list_adapters_of_file();
