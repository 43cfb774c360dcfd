package demo

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// backsUp lets the store live, and takes a snapshot of it meanwhile.
func (d *demo) backsUp(ctx context.Context) error {
	began := time.Now()
	if err := d.live(ctx); err != nil {
		return err
	}
	l, taken := d.life, uint64(0)
	if err := l.clock.wait(ctx, l.clock.now().Add(2*time.Second)); err != nil {
		return err
	}
	before, _ := l.count()
	m, err := l.m.Backup(ctx, l.store, snapshot.Options{Progress: func(n uint64) {
		taken += n
		d.progress(StepBackup, int64(taken), max(int64(taken), d.report.Import.Bytes))
	}})
	if err != nil {
		return err
	}
	after, _ := l.count()
	// Longer than the second before the accident that is to come.
	if err := l.clock.wait(ctx, time.Unix(0, m.Time).Add(3*time.Second)); err != nil {
		return err
	}
	d.report.Backup = BackupStep{
		LSN: uint64(m.Position.LSN), Volumes: m.Volumes, Pages: m.Images, Parts: len(m.Parts), Bytes: m.Stored(),
		Meanwhile: after - before, Writers: d.c.Writers, Seconds: time.Since(began).Seconds(),
	}
	return nil
}

// victim is the largest file.
func (p *Plan) victim() (largest File) {
	for _, f := range p.Files {
		if f.Bytes >= largest.Bytes {
			largest = f
		}
	}
	return largest
}

// hasAccident deletes a volume, and lets the writers go on for a while.
func (d *demo) hasAccident(ctx context.Context) error {
	began, l, victim := time.Now(), d.life, d.plan.victim()
	c, err := l.m.UpdateWith(ctx, txn.TxOptions{Message: "demo: an accident"}, func(tx *txn.Tx) error { return tx.DeleteVolume(victim.Name) })
	if err != nil {
		return err
	}
	if err := l.clock.wait(ctx, c.Time.Add(3*time.Second)); err != nil {
		return err
	}
	if err := l.rest(ctx); err != nil {
		return err
	}
	s := l.archiver.Status()
	d.report.Accident = AccidentStep{
		Volume: victim.Name, Pages: victim.Pages(), LSN: uint64(c.Position.LSN), Time: c.Time.UTC(), Last: uint64(s.Shipped.LSN), Refused: l.refused,
		Shipped: uint64(s.Shipped.LSN - l.head.LSN), Bytes: s.Bytes, Seconds: time.Since(began).Seconds(),
	}
	for _, done := range l.commits {
		if done.lsn > c.Position.LSN {
			d.report.Accident.After++
		}
	}
	return nil
}

// restores makes a store of the archive, as it was one second before the accident.
func (d *demo) restores(ctx context.Context) error {
	began, a := time.Now(), &d.report.Accident
	to := restore.Target{Time: a.Time.Add(-time.Second)}
	got, err := txn.Restore(ctx, d.life.store, filepath.Join(d.c.Dir, restoredDir), to, restore.Options{Progress: func(p restore.Progress) {
		switch p.Step {
		case "load":
			d.progress(StepRestore, p.Done, p.Of)
		default:
			d.progress(StepRestore, int64(p.LSN), int64(a.LSN))
		}
	}}, txn.Options{})
	if err != nil {
		return err
	}
	d.restored = got
	d.report.Restore = RestoreStep{
		Target: to.Time, LSN: uint64(got.Position.LSN), Time: got.Time.UTC(), Entries: got.Entries, Bytes: got.Bytes,
		Lost: int(a.LSN - uint64(got.Position.LSN) - 1), Seconds: time.Since(began).Seconds(),
	}
	return nil
}

// compares holds the restored store against the living one at that LSN, and against
// what was asked of it until then.
func (d *demo) compares(ctx context.Context) (err error) {
	began, s := time.Now(), &d.report.Compare
	at := d.restored.Position.LSN
	history, last := d.childs, d.life.head.LSN
	for _, done := range d.life.commits {
		if !done.at.After(d.report.Restore.Target) {
			history, last = append(history, done.id), done.lsn
		}
	}
	if at != last {
		return notProven("restored to LSN %d, the last commit until then has LSN %d", at, last)
	}
	want, err := digestAt(filepath.Join(d.c.Dir, storeDir), at)
	if err != nil {
		return err
	}
	if d.m, _, err = txn.Open(filepath.Join(d.c.Dir, restoredDir), txn.Options{}); err != nil {
		return err
	}
	got, err := digestAt(filepath.Join(d.c.Dir, restoredDir), 0)
	if err != nil {
		return err
	}
	s.Digest, s.Restored = want.String(), got.String()
	if got != want {
		return notProven("the restored store has digest %s, the store had %s at LSN %d", got, want, at)
	}
	c := d.comparison(StepCompare, d.m, restoredDir, history)
	err = c.run(ctx)
	s.Volumes, s.Pages, s.Seconds = c.volumes, c.pages, time.Since(began).Seconds()
	return errors.Join(err, d.close())
}

// digestAt is the digest of a store at an LSN, or now.
func digestAt(dir string, at wal.LSN) (wal.PageHash, error) {
	v, err := recovery.View(vfs.OS(), dir, at)
	if err != nil {
		return wal.PageHash{}, err
	}
	_, digest, err := v.Snapshot().Digest()
	return digest, errors.Join(err, v.Close())
}
