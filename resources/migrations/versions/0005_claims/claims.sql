-- A command that dies between taking on a batch and making its run is known by its process: nobody need wait for it.

ALTER TABLE catalog.deliveries ADD COLUMN claimed_by text;
COMMENT ON COLUMN catalog.deliveries.claimed_by IS
    'Process that last took it on, where a command did; null where the landing sensor did, or nobody.';
