// Package objects is the seam between backups and the places that keep them: a
// Store of immutable objects by key, in four calls, and the store that is a
// directory.
//
// # Use
//
// Example has this as a program.
//
//	store, err := objects.Open(ctx, "file:///srv/archive", objects.Known(objects.DirOptions{}))
//	err = objects.Probe(ctx, store, time.Now())
//	err = store.Put(ctx, "logs/a/start", objects.Bytes(b))
//	switch {
//	case errors.Is(err, objects.ErrExists):  // somebody put that key before: compare
//	case errors.Is(err, objects.ErrUnknown): // put again: nil or ErrExists settles it
//	}
//	r, size, err := store.Get(ctx, "logs/a/start", 0, -1)
//	for item, err := range store.List(ctx, "logs/a/") { ... }
//	err = store.Delete(ctx, "logs/a/start")
//
// # Guarantees
//
//   - An object is whole or absent, at every moment and for every reader. It
//     never changes: there is no overwriting, and put after delete is all that
//     gives a key other bytes.
//   - Of any number of Puts of one key, by any number of goroutines, processes and
//     machines, one succeeds, and the others get ErrExists (or an error that
//     says that nothing was put).
//   - Bytes that do not have the checksum in Body are not put.
//   - When Put returned nil or ErrExists, the object is durable; when Delete
//     returned nil, its absence is. What Get and List show of a Put under
//     way may be gone after a power cut: who deletes something because of an
//     object confirms that one first, by a Put that answers ErrExists.
//   - Memory does not grow with the size of objects or with their number, but for the
//     keys that a list of a Retrying store remembers.
//   - Bad keys, foreign files and any bytes in the place of a store are errors.
//
// # Errors
//
// Each is an *Error with call, store and key around one of these, or around what
// the system said, in which case nothing was changed and the call may be repeated.
//
//	ErrExists    Put: the key is taken, durably. By the same bytes or others:
//	             the store does not compare.
//	ErrUnknown   Put, Delete: it may have happened, or may yet happen
//	ErrFailed    Put, Delete: an earlier sync failed, nothing was changed
//	ErrNotFound  Get: there is no such object
//	ErrChecksum  Put: the body's bytes are not those it was announced with;
//	             nothing was put
//	ErrKey       any: the key breaks a rule below; nothing was asked of the store
//	ErrForeign   something in the store's place is no object, or a key is another's
//	             path prefix
//	ErrUnfit     Probe: the store does not do what a Store must
//
// A context that ends gives its error, and ErrUnknown beside it if the call had
// come too far.
//
// # Trying again
//
// Retrying makes of a store one whose calls are tried again while their answers
// are not settled: not one of ErrExists, ErrNotFound, ErrForeign, ErrFailed, ErrKey,
// ErrChecksum, ErrUnfit, fs.ErrInvalid. It waits between tries, twice as long each time
// up to a bound, and gives up after a number of them, or when the context ends.
//
//	call    what fails                 then
//	Put     ErrUnknown                 it is put again: nil, or ErrExists, which may be this
//	                                   call's own object: compare
//	Put,    an answer is lost, and     the last error, and ErrUnknown
//	Delete  the tries after it fail
//	Get     in the middle              the reader goes on where it was; ErrNotFound when the
//	                                   object is gone, or another of another size is there
//	List    in the middle              it begins anew, and yields no key twice
//	any     nothing comes for          that try is given up with context.DeadlineExceeded
//	        RetryOptions.Call
//
// A reader that goes on believes that the object is still the one which it began: a key
// that is deleted and put again with as many other bytes is found out by the formats.
//
// # Keys
//
// A key is 1 to MaxKey bytes, in 1 to MaxParts parts separated by "/". A part is 1
// to MaxPart bytes of A-Z a-z 0-9 . _ - and begins with a letter or digit. So a
// key is a path on every file system, needs no quoting in URLs, and never is one
// of the names that begin with a dot, which belong to whoever keeps the store.
//
// Two rules bind whoever designs a layout, because a store of the S3 kind cannot
// check them: no key is another's path prefix ("a" and "a/b"), and no two keys
// differ only in case. The directory refuses the first with ErrForeign.
//
// # The directory
//
// Key "a/b" is the file a/b below the directory, byte for byte: cp and rsync
// copy an archive, and no fact is kept in names, dates or modes of files.
//
//	step                                       a crash behind it leaves
//	make .put/<time>-<uuid>, lock and fill it  a leftover
//	sync it                                    a leftover
//	make the key's directories, sync parents   and empty directories
//	link it to the key    (the one winner)     and the object, whole; a power cut may take it
//	sync the key's directory                   and the object, durable
//	remove the first name                      nothing
//
// Who finds the key taken syncs its directory before answering ErrExists, since the winner
// may have died before doing so. A taken key that is our own file is
// a success: on NFS the answer to a link that worked can be lost, and its repetition
// says "exists".
//
// Leftovers are removed by the first Put of a Dir, if they are older than
// LeftoverAge by the time in their names and nobody holds the lock on them. Were
// one removed that a process on another machine still fills, its link fails, and
// nothing is put.
//
// Directories, once made, stay when they are empty: removing one beneath a Put
// elsewhere would cost every Put a sync of all directories above its key.
//
// After a failed sync of a directory the Dir refuses to write (promise 6). Open
// it anew, when the disk is well, and put again what was not acknowledged.
//
// # Assumptions
//
// Of the file system: hard links, which exFAT and some FUSE systems do not have
// (Probe says so); flock; link(2) is atomic across all that mount it. NFS from
// version 3 on does this. Mounted "soft" or "async" it loses what it acknowledged,
// as does a server that exports "async": use "hard" and "sync". Clients cache
// names for seconds: List may not yet show what another machine put; Put asks the
// server. The rest is as in package vfs.
//
// Of people: nobody changes files below the directory but by this package, or
// copies them while nothing is written.
//
// # Other stores
//
// A scheme is one function in Schemes, a store one implementation of Store that
// passes objectstest.Run. Compare-and-swap is all that is asked of it; lists need
// no order.
//
// Rejected: rename (it replaces), O_EXCL under the key's own name (a crash leaves
// part of an object), O_TMPFILE (not on NFS, not on macOS), a lock file for the
// whole directory (one that hangs stops all), a file of checksums beside each
// object (a second truth: formats check themselves).
package objects
