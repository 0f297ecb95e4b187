-- migrate:up

-- Which pushes brought a pack: what the manifest of a crate says of the packs that it took the place of.
create index pushes_pack on pushes (pool_id, pack_id) where pack_id is not null;

-- migrate:down

drop index pushes_pack;
