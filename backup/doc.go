// Package backup takes what a store holds out of it, and tells what of a file
// is not in it yet. It knows snapshots and pages; where bytes come from and go
// to is its callers' business, as is the writing: package txn does that.
//
// # Use
//
//	// A volume of a snapshot, byte for byte, into w:
//	length, err := backup.Length(snap, volume)
//	err = backup.Export(ctx, volume, length, w, func(done int64) { ... })
//
//	// A newer version of the file into the volume, in one transaction:
//	c, err := backup.Changed(ctx, volume, file, volume.WritePage)
//	err = volume.Truncate(c.Pages)
//
// # Files in volumes
//
// A volume has whole pages, a file any number of bytes. The last page of an
// imported file is padded with zeros, so that who reads the volume finds the
// file's bytes and nothing else, and the exact length is kept beside it, in a
// volume named LengthsVolume: one page for each file that does not end with a
// page (format.go). It is changed by the transaction that changes the file, so
// at every LSN the two belong together, whatever log was trimmed since; entry
// metadata would be gone with the log, and a trailer in the volume itself would
// be there for everybody who reads it.
//
// A length is a hint that is checked: it counts only while the volume has
// exactly as many pages as it needs and holds zeros behind it. A volume that
// was written otherwise meanwhile is exported in whole pages, so no byte of it
// is ever left out.
//
// # Guarantees
//
//   - Export writes the bytes of one snapshot and no others: each page is
//     verified against the hash its parent holds (promise 9). After an error
//     what was written is a part of them.
//   - Changed visits exactly the pages whose bytes differ, in order; a page of
//     zeros equals an absent one.
//   - Memory does not depend on the size of file or volume.
//
// # Whole stores
//
// Archives of whole stores are the packages below: objects keeps them, archive lays them
// out, ship has their log and snapshot the states, pins and retain say what may go,
// restore and repair make stores of them.
package backup
