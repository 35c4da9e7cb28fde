/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_WRITE_TRACKING_H
#define _LINUX_WRITE_TRACKING_H

/*
 * Two trackers want to know which pages of a VMA are written to: soft-dirty
 * (/proc/pid/clear_refs) and userfaultfd write-protection. A VMA has one of
 * them at most, so they share VM_WRTRACK and the uffd-wp bit of page table
 * and swap entries:
 *
 *	VM_WRTRACK	userfaultfd	tracker
 *	clear		any		none, the bit means nothing
 *	set		none		soft-dirty
 *	set		registered	userfaultfd-wp
 *
 * In a tracked VMA the bit says "not written since it was set, and protected
 * until it is". An entry that has it is never writable.
 *
 * Stable under the mmap lock or the VMA lock. Other readers (reclaim) may see
 * VM_WRTRACK and the userfaultfd context change one after the other: the
 * context is set before VM_WRTRACK and reset after it.
 */

#include <linux/mm.h>

static inline bool vma_wrtracked(const struct vm_area_struct *vma)
{
	return IS_ENABLED(CONFIG_WRITE_TRACKING) &&
	       (vma->vm_flags & VM_WRTRACK);
}

static inline bool vma_has_userfaultfd(const struct vm_area_struct *vma)
{
#ifdef CONFIG_USERFAULTFD
	return vma->vm_userfaultfd_ctx.ctx;
#else
	return false;
#endif
}

static inline bool userfaultfd_wp(const struct vm_area_struct *vma)
{
	return vma_wrtracked(vma) && vma_has_userfaultfd(vma);
}

static inline bool vma_soft_dirty_tracked(const struct vm_area_struct *vma)
{
	return IS_ENABLED(CONFIG_MEM_SOFT_DIRTY) && vma_wrtracked(vma) &&
	       !vma_has_userfaultfd(vma);
}

/* Without tracking every page has to be taken for written. */
static inline bool vma_reports_soft_dirty(const struct vm_area_struct *vma)
{
	return IS_ENABLED(CONFIG_MEM_SOFT_DIRTY) && !vma_soft_dirty_tracked(vma);
}

/*
 * Anonymous memory keeps "written" in its page or swap entry. A shared file
 * mapping loses its entries to reclaim, so it is mapped by PTEs alone, which
 * leave a PTE_MARKER_WRITTEN behind.
 */
static inline bool vma_soft_dirty_needs_ptes(const struct vm_area_struct *vma)
{
	return vma_soft_dirty_tracked(vma) &&
	       (vma->vm_flags & (VM_MAYSHARE | VM_PFNMAP)) == VM_MAYSHARE;
}

/* Do the page tables hold what a page fault could not bring back? */
static inline bool vma_wrtrack_needs_ptes(const struct vm_area_struct *vma)
{
	return userfaultfd_wp(vma) || vma_soft_dirty_needs_ptes(vma);
}

/* For VMAs with vma_soft_dirty_tracked() alone, so they need no stubs. */
bool soft_dirty_clear_pte(struct vm_area_struct *vma, unsigned long addr,
			  pte_t *ptep);
bool soft_dirty_clear_pmd(struct vm_area_struct *vma, unsigned long addr,
			  pmd_t *pmdp);
bool soft_dirty_clear_huge_pte(struct vm_area_struct *vma, unsigned long addr,
			       pte_t *ptep);
int soft_dirty_clear_hole(struct vm_area_struct *vma, unsigned long addr,
			  unsigned long end);

#ifdef CONFIG_MEM_SOFT_DIRTY
extern bool soft_dirty_used;

/*
 * Does anything have to be told to those who track? To be asked after it was
 * done: then it was done before the first of them began.
 */
static inline bool soft_dirty_in_use(void)
{
	/* Pairs with the one in soft_dirty_start(). */
	smp_mb();
	return READ_ONCE(soft_dirty_used);
}

int soft_dirty_clear(struct mm_struct *mm);
void soft_dirty_stop(struct mm_struct *mm);
#else
static inline bool soft_dirty_in_use(void)
{
	return false;
}

static inline int soft_dirty_clear(struct mm_struct *mm)
{
	return 0;
}

static inline void soft_dirty_stop(struct mm_struct *mm)
{
}
#endif

#endif /* _LINUX_WRITE_TRACKING_H */
