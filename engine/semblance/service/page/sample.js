// Some pictures of the gallery, for whoever has none at hand. In: what is served. Out: neighbours, of no order. The
// service lists nothing; but the pictures nearest to a random direction are some, and a condition that lets only one
// in so many pass spreads them over the gallery.

const NUM_SHOWN = 12;
const MOST_FILTERED = 1_000_000; // pictures; a condition reads a column of all of them

/** A handful, another each time. */
export async function sample(api, { gallery, model }, signal) {
  const vector = Array.from({ length: model.dimension }, gaussian);
  const every = Math.floor(gallery.images / (2 * NUM_SHOWN)); // twice as many as are shown, should some be gone
  const isSpread = every > 1 && gallery.images <= MOST_FILTERED;
  const where = isSpread ? `key % ${every} = ${Math.floor(Math.random() * every)}` : "";
  const { neighbours } = await api.search({ vector }, { k: NUM_SHOWN, where }, { signal });
  return neighbours;
}

function gaussian() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}
