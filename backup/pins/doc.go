// Package pins keeps those who use an archive and those who delete from it apart: by
// objects under pins/, which everybody puts before he begins and looks for before he
// goes on. No lock, no server, no clock but to outlive the dead.
//
// # Use
//
//	pin, err := pins.HoldAndAwait(ctx, store, pins.Options{Holder: "pack"}) // it is renewed
//	defer pin.Release(ctx)
//	...
//	err = pin.Err() // before something is put that refers to what was found
//
//	pin, err := pins.Hold(ctx, store, pins.Options{Holder: "restore"}) // bears deletions: waits for nobody
//
//	pin, err := pins.Hold(ctx, store, pins.Options{Kind: pins.Prune, Holder: "prune"})
//	others, err := pin.Others(ctx) // any: delete nothing, release, come again
//
// # The protocol
//
//	who uses                            who deletes
//	puts a pin of kind Use              announces it: puts a pin of kind Prune
//	then looks for Prunes               then looks for any other pins
//	then lists what there is            then lists what there is, and deletes
//
// Put and list of an object store are in one order for all: what is put is listed from
// then on. Let both be at work at one time. Either the user's put was before the
// deleter's look: then the deleter sees the pin, and deletes nothing. Or it was behind
// it, hence behind the deleter's own put: then the user sees the announcement, and waits
// until it is gone. So nobody who pins and waits ever meets a deletion. Both may see each
// other: then the deleter yields, and the user goes on when it has.
//
// Who does not wait, such as a restore at three in the morning, may find that things are gone
// which the policy of the prune does not promise: it says so, or uses what is promised.
//
// Two that delete see each other, too; one or both yield.
//
// # Expiry
//
// A pin's key says when it ends (TTL behind its put). Each third of that it is put anew, and
// the one before the last deleted: so that a list always has one of the two, whatever is put
// and deleted while it is made. One whose holder died ends by itself. Others believe a pin until Slack behind its end: that is how far clocks may be
// apart, with the time that one put takes. Who could not renew his pin in time is told by
// Err, asks before he puts what refers to something, and gives up. A clock that is
// further off lets a pin be deleted under its holder: a reader then finds that objects are
// gone, and says so; what is put may refer to what is gone, which Verify finds.
//
// A pin whose end is years away, by a clock that was far ahead, or that cannot be read, is
// believed all the same: a prune is refused and names it. Who awaits prunes gives up when it was
// not renewed for TTL and Slack, and names it as well. It may be deleted by hand.
//
// A place that cannot be written to cannot be pinned. Readers go on and say so: there
// a prune could not delete either, unless it has other rights.
//
// # Limits
//
//	TTL    5 min      a pin without renewal
//	Slack  5 min      others believe it longer: so the dead hinder a prune 10 min
//	256 bytes         of the holder's name
//
// Each look lists pins/ and reads every pin that is live.
package pins
