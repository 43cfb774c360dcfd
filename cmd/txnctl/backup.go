package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/s3store"
	"github.com/quire-db/quire/backup/ship"
)

func newBackupCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "backup",
		Short: "Keep snapshots and the log in an archive, and check it",
		Long: `Keep snapshots and the log in an archive, and check it. An archive is a place
for objects, named by a URL: file:///path is a directory, s3://bucket/prefix a bucket
(the standard AWS environment and profiles say whose; ?endpoint=https://host:port names
another server). It holds snapshots of the store and the entries of its log; txnctl
restore makes a store of them, as it was at any LSN or time between.

Nothing in an archive is ever written over, so any number of these commands may run
at once; backup prune leaves alone what others use. An archive that holds another history
than the store's is left as it is, and said to be so (exit code 5). A place that is a
store, or lies in one, is refused.

With --recipient what is put is encrypted (age); whoever reads it names the key's
file with --identity or in $QUIRE_AGE_IDENTITY; both flags may be repeated. Listing
needs no key.`,
		Example: `  txnctl backup create file:///srv/archive            # a snapshot, whole the first time
  txnctl backup archive file:///srv/archive           # every entry, as it becomes durable
  txnctl backup ls file:///srv/archive
  txnctl backup verify file:///srv/archive --restore  # the proof
  txnctl backup prune file:///srv/archive --keep-daily 14 --keep-within 7d
  txnctl restore file:///srv/archive /srv/new --to-time '2026-11-21 03:00:00'`,
	}, newBackupCreateCommand(a), newBackupArchiveCommand(a), newBackupLsCommand(a), newBackupVerifyCommand(a), newBackupPruneCommand(a))
}

// schemes are the kinds of places that URLs of archives may name; begin: one that is
// not there is made.
func schemes(begin bool) objects.Schemes {
	all := objects.Known(objects.DirOptions{Create: begin})
	maps.Copy(all, s3store.Schemes(s3store.Options{}))
	return all
}

// patient is a place whose calls are repeated.
func patient(store objects.Store) (objects.Store, error) {
	return objects.Retrying(store, objects.RetryOptions{Tries: objects.DefaultTries})
}

// findArchive opens the archive at a URL, to be read.
func (a *app) findArchive(ctx context.Context, url string, k *keys) (objects.Store, *ship.Reader, error) {
	store, err := objects.Open(ctx, url, schemes(false))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, noArchive(url)
	}
	if err != nil {
		return nil, nil, asUsage(err)
	}
	if store, err = patient(store); err != nil {
		return nil, nil, err
	}
	ids, err := k.identities()
	if err != nil {
		return nil, nil, err
	}
	r, err := ship.OpenReader(ctx, store, ship.ReadOptions{Identities: ids})
	if errors.Is(err, objects.ErrNotFound) {
		return nil, nil, noFormat(ctx, store, url)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", url, err)
	}
	return store, r, nil
}

func noArchive(url string) error {
	return fmt.Errorf("there is no archive in %s: is it the right place, and mounted? txnctl backup create makes a new one", url)
}

// noFormat tells a place without an archive from an archive without its FORMAT.
func noFormat(ctx context.Context, store objects.Store, url string) error {
	for item, err := range store.List(ctx, archive.LogsPrefix) {
		if err != nil {
			return err
		}
		return lostFormat(url, item.Key)
	}
	return noArchive(url)
}

func lostFormat(url, key string) error {
	return corruptArchive{fmt.Sprintf("%s has lost its object %s, though there is %s", url, archive.FormatKey, key)}
}

// openArchive opens the archive at a URL, to put something there. The place of one
// that is to be begun is tried first.
func (a *app) openArchive(ctx context.Context, url string) (objects.Store, error) {
	store, err := objects.Open(ctx, url, schemes(true))
	if err != nil {
		return nil, asUsage(err)
	}
	begun, err := archive.Has(ctx, store, archive.Key{Kind: archive.KindFormat})
	if err == nil && !begun {
		err = objects.Probe(ctx, store, time.Now()) // each call once: repeated, a put may meet its own object
	}
	if err != nil {
		return nil, err
	}
	return patient(store)
}

// asUsage makes what is wrong with a URL an error of usage.
func asUsage(err error) error {
	if errors.Is(err, objects.ErrURL) {
		return usagef("%v", err)
	}
	return err
}

func isUsage(err error) bool {
	var usage usageError
	return errors.As(err, &usage)
}

// completeURL begins a URL, and leaves the rest to the user.
func completeURL(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || len(word) >= len("file:///") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"file:///", "s3://"}, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
