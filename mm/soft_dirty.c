// SPDX-License-Identifier: GPL-2.0
/*
 * Soft-dirty tracking: which pages did a process write to since somebody wrote
 * 4 to its /proc/pid/clear_refs?
 *
 * A VMA that is tracked has VM_WRTRACK and no userfaultfd, see write_tracking.h.
 * Clearing sets the uffd-wp bit in all its entries; the write fault drops the
 * bit where it makes an entry writable. So a populated entry without the bit
 * is soft-dirty, and so is every page of a VMA that is not tracked.
 */

#include <linux/dax.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/userfaultfd_k.h>
#include <linux/write_tracking.h>

#include <asm/tlb.h>

#include "internal.h"

bool soft_dirty_used __read_mostly;

/*
 * Can @vma be tracked, if it is not yet? A device that maps by huge pages alone
 * cannot be mapped by PTEs instead. Unsharing a hugetlb page table drops its
 * entries, and with them what is known of pages that may be pinned.
 */
static bool soft_dirty_can_track(struct vm_area_struct *vma)
{
	if (vma_wrtracked(vma) || vma_has_userfaultfd(vma))
		return false;
	if (vma->vm_flags & VM_PFNMAP)
		return false;
	if (vma_is_dax(vma) && S_ISCHR(file_inode(vma->vm_file)->i_mode))
		return false;
	if (is_vm_hugetlb_page(vma) && (vma->vm_flags & VM_MAYSHARE) &&
	    test_bit(MMF_HAS_PINNED, &vma->vm_mm->flags))
		return ALIGN(vma->vm_start, PUD_SIZE) + PUD_SIZE > vma->vm_end;
	return true;
}

/*
 * Give @vma or take from it VM_WRTRACK and merge it with the neighbours that
 * it now equals. A merge that fails for want of memory does no harm.
 *
 * Returns the VMA that covers what was @vma.
 */
static struct vm_area_struct *
soft_dirty_switch(struct vma_iterator *vmi, struct vm_area_struct *prev,
		  struct vm_area_struct *vma, bool track)
{
	vm_flags_t vm_flags = (vma->vm_flags & ~VM_WRTRACK) |
			      (track ? VM_WRTRACK : 0);
	struct vm_area_struct *merged;

	merged = vma_modify_flags(vmi, prev, vma, vma->vm_start, vma->vm_end,
				  vm_flags);
	if (IS_ERR(merged))
		vma_iter_set(vmi, vma->vm_end);
	else
		vma = merged;

	vma_start_write(vma);
	vm_flags_reset(vma, vm_flags);
	vma_set_page_prot(vma);
	return vma;
}

/*
 * Stop tracking @vma alone. The bits that are left in its page tables mean
 * nothing, and go with the next write fault or change of protection.
 */
void soft_dirty_untrack(struct vm_area_struct *vma)
{
	vma_start_write(vma);
	vm_flags_clear(vma, VM_WRTRACK);
	vma_set_page_prot(vma);
}

/*
 * Track every VMA that can be. After the first time that is those that are new,
 * often none; only for them the mmap lock is taken for writing.
 *
 * Returns 0 with the mmap lock held for reading, or -EINTR.
 */
static int soft_dirty_start(struct mm_struct *mm)
{
	struct vm_area_struct *vma, *prev = NULL;
	struct vma_iterator vmi;

	if (mmap_read_lock_killable(mm))
		return -EINTR;

	vma_iter_init(&vmi, mm, 0);
	for_each_vma(vmi, vma) {
		if (soft_dirty_can_track(vma))
			break;
	}
	if (!vma)
		return 0;

	mmap_read_unlock(mm);
	if (mmap_write_lock_killable(mm))
		return -EINTR;

	set_bit(MMF_HAS_SOFT_DIRTY, &mm->flags);
	WRITE_ONCE(soft_dirty_used, true);

	/* GUP-fast has to wait for the mmap lock, so no page is pinned meanwhile. */
	raw_write_seqcount_begin(&mm->write_protect_seq);
	/*
	 * Pairs with the atomic that raises the pin count in GUP-fast, and with
	 * soft_dirty_in_use().
	 */
	smp_mb();

	vma_iter_set(&vmi, 0);
	for_each_vma(vmi, vma) {
		if (soft_dirty_can_track(vma)) {
			vma = soft_dirty_switch(&vmi, prev, vma, true);
			/* A shared table could not differ in the bit. */
			if (is_vm_hugetlb_page(vma))
				hugetlb_unshare_all_pmds(vma);
			else if (vma_soft_dirty_needs_ptes(vma))
				soft_dirty_split(vma);
			if (vma_soft_dirty_needs_ptes(vma) &&
			    test_bit(MMF_HAS_PINNED, &mm->flags))
				soft_dirty_mark_pinned(vma);
		}
		prev = vma;
	}

	raw_write_seqcount_end(&mm->write_protect_seq);
	mmap_write_downgrade(mm);
	return 0;
}

/**
 * soft_dirty_clear - let all pages of a process be clean
 * @mm: the address space
 *
 * Every VMA is tracked from here on, but for those that a userfaultfd is
 * registered on and those that soft_dirty_can_track() sorts out. A page that
 * may be pinned stays soft-dirty: it is written to without a fault.
 *
 * The process can go on faulting meanwhile. What it writes before this returns
 * may be taken for written before or after.
 *
 * Context: takes the mmap lock, for writing now and then.
 * Return: 0, -EINTR if a signal is about to kill the caller, or -ENOMEM.
 */
int soft_dirty_clear(struct mm_struct *mm)
{
	unsigned long addr = 0;
	int err;

	err = soft_dirty_start(mm);
	if (err)
		return err;

	for (;;) {
		err = soft_dirty_walk(mm, &addr);
		mmap_read_unlock(mm);
		if (err || !addr)
			break;
		cond_resched();
		if (mmap_read_lock_killable(mm))
			return -EINTR;
	}

	return err ?: access_remote_vm_sync(mm);
}

static void soft_dirty_unprotect(struct mmu_gather *tlb,
				 struct vm_area_struct *vma)
{
	unsigned long cp_flags = MM_CP_UFFD_WP_RESOLVE;

	if (vma_wants_manual_pte_write_upgrade(vma))
		cp_flags |= MM_CP_TRY_CHANGE_WRITABLE;
	change_protection(tlb, vma, vma->vm_start, vma->vm_end, cp_flags);
}

/**
 * soft_dirty_stop - end soft-dirty tracking of a process
 * @mm: the address space
 *
 * All pages are soft-dirty again, and userfaultfd write-protection can be
 * registered.
 *
 * Context: the caller holds the mmap lock for writing.
 */
void soft_dirty_stop(struct mm_struct *mm)
{
	struct vm_area_struct *vma, *prev = NULL;
	struct vma_iterator vmi;
	struct mmu_gather tlb;

	mmap_assert_write_locked(mm);

	if (!test_bit(MMF_HAS_SOFT_DIRTY, &mm->flags))
		return;

	tlb_gather_mmu(&tlb, mm);
	vma_iter_init(&vmi, mm, 0);
	for_each_vma(vmi, vma) {
		/* What moved has been left with bits that mean nothing. */
		if (userfaultfd_wp(vma) || (vma->vm_flags & VM_PFNMAP))
			continue;
		/* No page fault must set a bit again. */
		vma_start_write(vma);
		if (is_vm_hugetlb_page(vma))
			hugetlb_unshare_all_pmds(vma);
		soft_dirty_unprotect(&tlb, vma);
	}
	tlb_finish_mmu(&tlb);
	clear_bit(MMF_HAS_SOFT_DIRTY, &mm->flags);

	vma_iter_set(&vmi, 0);
	for_each_vma(vmi, vma) {
		if (vma_soft_dirty_tracked(vma))
			vma = soft_dirty_switch(&vmi, prev, vma, false);
		prev = vma;
	}
}

/*
 * Stop tracking [start, end) of @vma, which becomes a VMA of its own. If there
 * is no memory for one, stop tracking all of @vma.
 *
 * Returns the VMA that covers the range.
 */
struct vm_area_struct *soft_dirty_untrack_range(struct vm_area_struct *vma,
						unsigned long start,
						unsigned long end)
{
	struct vm_area_struct *part;
	struct vma_iterator vmi;

	vma_iter_init(&vmi, vma->vm_mm, start);
	part = vma_modify_flags(&vmi, vma, vma, start, end,
				vma->vm_flags & ~VM_WRTRACK);
	if (IS_ERR(part))
		part = vma;
	soft_dirty_untrack(part);
	return part;
}

/*
 * A mapping that grew since soft-dirty was cleared is two VMAs. Make one of
 * those in the range that differ in nothing else, by tracking none of them.
 * Not of hugetlb: that never merges, and a table with stale bits in it could
 * be shared.
 *
 * Returns the VMA at @start, or NULL.
 */
struct vm_area_struct *soft_dirty_merge_range(struct mm_struct *mm,
					      unsigned long start,
					      unsigned long end)
{
	struct vm_area_struct *vma, *prev;
	struct vma_iterator vmi;

	vma_iter_init(&vmi, mm, start);
	prev = vma_prev(&vmi);
	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > start && (!prev || prev->vm_end != vma->vm_start))
			break;
		if (vma_soft_dirty_tracked(vma) && !is_vm_hugetlb_page(vma))
			vma = soft_dirty_switch(&vmi, prev, vma, false);
		prev = vma;
	}

	return vma_lookup(mm, start);
}
