// Package s3store is the objects.Store that is a bucket of S3, or what lies below
// a prefix of one, at AWS or at any server that speaks its protocol.
//
// # Use
//
// Example opens one by its URL:
//
//	s3://bucket/prefix?endpoint=URL&region=NAME&path-style=BOOL
//
//	prefix      of all keys in the bucket; empty for the whole bucket
//	endpoint    http://host:port or https://host:port of a server that is not AWS's
//	region      the environment's when left out; us-east-1 when there is none
//	            and the endpoint is not AWS's
//	path-style  true for http://host/bucket/key, false for http://bucket.host/key;
//	            when left out, true if there is an endpoint
//
// All else is as in AWS's own tools: credentials, profiles, single sign-on, roles
// of machines, AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, proxies. A URL with credentials
// is refused, and no error and no String has any.
//
// Schemes is for objects.Open, beside objects.Known. Who opens a store probes it
// (objects.Probe) before anything is trusted to it: a server that overwrites is
// ErrUnfit there.
//
// # The calls
//
//	Put     PutObject, If-None-Match: *, at most 5 GiB in one request, streamed
//	Get     GetObject with a range; HeadObject behind the end
//	List    ListObjectsV2, page by page
//	Delete  DeleteObject
//
// The user needs s3:PutObject, s3:GetObject, s3:DeleteObject and s3:ListBucket:
// without the last AWS answers 403 for an object that is not there.
//
// Objects have one fact beside their bytes: the metadata quire-put is a number that
// their Put invented. An archive copied without it is as good.
//
// # What became of a Put
//
//	the server says, or does                     Put returns
//	200                                          nil
//	412 PreconditionFailed                       ErrExists, or nil: below
//	409 ConditionalRequestConflict               tries again, at last ErrUnknown
//	400 BadDigest: bytes were damaged on the way tries again, at last ErrChecksum
//	5xx, nothing, or no HTTP, after the last     tries again, at last ErrUnknown
//	  bytes may have been sent
//	the same before that, or no connection       tries again, at last a plain error
//	501 NotImplemented                           ErrUnfit
//	other 3xx and 4xx                            a plain error
//
// An attempt that fails for certain says nothing about those before it: once one
// may have put the object, all errors are ErrUnknown until something settles it.
// The usual way is that the next attempt finds the key taken. Then HeadObject says
// by quire-put whether the object is this Put's own, which is success, as it is for
// a directory on NFS. On a server that keeps no metadata it is ErrExists:
// callers compare, as they must anyway.
//
// Delete is alike, but that one more never does harm.
//
// # Bytes
//
// A body is read as it is sent, in pieces, and again for each attempt. Over
// http it is read once more before, since the request is signed with its SHA-256;
// over https it is not. Its last bytes are handed to the connection only when
// the CRC32C of all is right. Else the connection is cut with less sent than was
// announced, and no server makes an object of that: ErrChecksum. The CRC32C goes
// with the request, so the server checks, too, and so does AWS's storage.
//
// Get believes no answer that does not fit the question: a range that is not the
// one asked for, a length that does not fit the range, a whole object from a server
// that ignores ranges. What is cut off is an error of the reader. Whether the bytes
// are right is for the formats to say. A reader does not ask again for the rest.
//
// # Limits
//
// Options has those that can be set: 5 attempts, up to 200 ms, then twice as much and
// so on up to 10 s between them, and a minute without a byte moving. A context ends a
// call at any time. A page of a list, of 1,000 keys, and 64 KiB of a body are what
// one call has in memory.
//
// # What the place must be
//
//   - Conditional writes (If-None-Match) are atomic, reads see all writes that
//     were acknowledged, lists too: AWS's general purpose buckets, since 2020 and
//     2024. A put that was answered is durable.
//   - A short request makes no object; an object is whole or absent.
//   - No lifecycle rule expires or archives objects below the prefix. Rules that end
//     old versions and unfinished uploads are welcome.
//   - A bucket may keep versions. What is deleted is then hidden and still costs
//     space until a rule ends it. With object lock, too, Delete hides.
//   - Nobody else writes below the prefix. Keys there that no object can have are
//     left alone and not listed.
//   - A copy of a bucket made by replication lags: it is not for writing.
//
// # versitygw
//
// The tests with build tag s3 run against versitygw 1.8.0 with its POSIX backend, over
// http and https (package s3test). What was found about it:
//
//   - It refuses a second put also to writers that race, in one process and in
//     several, which versions before 1.8.0 do not. It decides under a lock of its
//     own (flock), so a network file system must keep locks for all that share it.
//   - It takes a key for absent if the file has no ETag of its own making in its extended
//     attributes. So it must not be run with --nometa, which Probe refuses; and a
//     directory that was copied without extended attributes, or filled by
//     others, is read well and overwritten, which Probe cannot see.
//   - In a bucket that keeps versions a key that was deleted cannot be put again: it
//     answers 412. AWS takes such a key for absent.
//   - It syncs nothing: a power cut may take what it acknowledged. For an archive
//     in a directory, file:// is the better store.
//   - Ranges, objects of 0 bytes, keys with dots, keys of 500 bytes, lists beyond
//     1,000 keys: as they should be. "a" beside "a/b" is refused (409).
//   - Without --keep-alive each request costs a connection.
//
// # Rejected
//
// The SDK's retries: they do not tell what earlier attempts may have done. Its
// transfer manager: parts are not conditional one by one, it reads ahead into memory,
// and leaves parts behind when it dies. Timeouts for whole requests: 5 GiB over a
// thin line take long. HTTP/2: one connection would stand for many requests, and
// a stalled one would go unseen.
package s3store
