// SPDX-License-Identifier: GPL-2.0
/*
 * Soft-dirty tracking: what clearing does to page table entries
 *
 * See soft_dirty.c for the rules, and for who holds which lock.
 */

#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/sizes.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>
#include <linux/write_tracking.h>

#include <asm/tlbflush.h>

#include "internal.h"

/*
 * Is a page of @vma that may be pinned to be expected? It is written to without
 * a fault, so it must stay soft-dirty. To be called after the entry was
 * cleared: GUP-fast raises the pin count first and looks at the entry again
 * afterwards.
 */
static bool soft_dirty_may_be_pinned(struct vm_area_struct *vma)
{
	/* Pairs with the atomic that raises the pin count in GUP-fast. */
	smp_mb__after_atomic();
	return test_bit(MMF_HAS_PINNED, &vma->vm_mm->flags);
}

static bool soft_dirty_pinned(struct folio *folio)
{
	return folio && folio_maybe_dma_pinned(folio);
}

static bool soft_dirty_pte_pinned(struct vm_area_struct *vma,
				  unsigned long addr, pte_t pte)
{
	return soft_dirty_pinned(pte_devmap(pte) ? page_folio(pte_page(pte)) :
				 vm_normal_folio(vma, addr, pte));
}

/* Migration of a pinned page will fail, and bring the page back. */
static bool soft_dirty_entry_pinned(struct vm_area_struct *vma,
				    swp_entry_t entry)
{
	return is_migration_entry(entry) && soft_dirty_may_be_pinned(vma) &&
	       soft_dirty_pinned(pfn_swap_entry_folio(entry));
}

/*
 * No marker means clean. One that says "written" stays if the page may be
 * pinned: it can be unmapped and go on being written to.
 */
static bool soft_dirty_drop_marker(struct vm_area_struct *vma, pte_t pte)
{
	return pte_marker_uffd_wp(pte) ||
	       (pte_marker_written(pte) && !soft_dirty_may_be_pinned(vma));
}

static __always_inline bool __soft_dirty_clear_pte(struct vm_area_struct *vma,
						   unsigned long addr,
						   pte_t *ptep)
{
	pte_t old, pte = ptep_get(ptep);

	if (likely(pte_present(pte))) {
		if (pte_uffd_wp(pte))
			return false;
		old = ptep_modify_prot_start(vma, addr, ptep);
		pte = old;
		if (likely(!soft_dirty_may_be_pinned(vma)) ||
		    !soft_dirty_pte_pinned(vma, addr, old))
			pte = pte_mkuffd_wp(old);
		ptep_modify_prot_commit(vma, addr, ptep, old, pte);
		return pte_write(old);
	}

	if (pte_none(pte))
		return false;

	if (is_pte_marker(pte)) {
		if (soft_dirty_drop_marker(vma, pte))
			pte_clear(vma->vm_mm, addr, ptep);
	} else if (!pte_swp_uffd_wp(pte) &&
		   !soft_dirty_entry_pinned(vma, pte_to_swp_entry(pte))) {
		set_pte_at(vma->vm_mm, addr, ptep,
			   pte_swp_mkuffd_wp(pte_swp_wrprotect(pte)));
	}
	return false;
}

/**
 * soft_dirty_clear_pte - let one page be clean
 * @vma: a VMA that soft-dirty tracks
 * @addr: the page's address
 * @ptep: its page table entry
 *
 * Context: the caller holds the page table lock, and flushes the TLB before it
 * drops it, or has called flush_tlb_batched_pending() with it.
 * Return: true if the TLB has to be flushed.
 */
bool soft_dirty_clear_pte(struct vm_area_struct *vma, unsigned long addr,
			  pte_t *ptep)
{
	return __soft_dirty_clear_pte(vma, addr, ptep);
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static struct folio *soft_dirty_pmd_folio(struct vm_area_struct *vma,
					  unsigned long addr, pmd_t pmd)
{
	return pmd_devmap(pmd) ? page_folio(pmd_page(pmd)) :
				 vm_normal_folio_pmd(vma, addr, pmd);
}

/* As soft_dirty_clear_pte(), for a huge page. */
bool soft_dirty_clear_pmd(struct vm_area_struct *vma, unsigned long addr,
			  pmd_t *pmdp)
{
	pmd_t old, pmd = *pmdp;

	if (pmd_present(pmd)) {
		if (pmd_uffd_wp(pmd))
			return false;
		old = pmdp_invalidate_ad(vma, addr, pmdp);
		pmd = old;
		if (!soft_dirty_may_be_pinned(vma) ||
		    !soft_dirty_pinned(soft_dirty_pmd_folio(vma, addr, old)))
			pmd = pmd_mkuffd_wp(old);
		set_pmd_at(vma->vm_mm, addr, pmdp, pmd);
		return pmd_write(old);
	}

	if (is_pmd_migration_entry(pmd) &&
	    !soft_dirty_entry_pinned(vma, pmd_to_swp_entry(pmd)))
		set_pmd_at(vma->vm_mm, addr, pmdp,
			   pmd_swp_mkuffd_wp(pmd_swp_wrprotect(pmd)));
	return false;
}

/*
 * Unmap a huge page of a file, so that PTEs map it from now on. None of them is
 * there yet, which means clean; a pinned page needs markers that say otherwise.
 * The page table must be there when the file is truncated later. Without
 * memory for it the VMA is not tracked.
 */
static int soft_dirty_split_pmd(pmd_t *pmd, unsigned long addr,
				unsigned long next, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	unsigned long haddr = addr & HPAGE_PMD_MASK;
	struct folio *folio = NULL;
	spinlock_t *ptl;	/* of the PMD, then of the PTEs */
	pte_t *pte;
	int i;

	ptl = pmd_trans_huge_lock(pmd, vma);
	if (!ptl)
		return 0;
	if (pmd_present(*pmd))
		folio = soft_dirty_pmd_folio(vma, haddr, *pmd);
	else if (is_pmd_migration_entry(*pmd))
		folio = pfn_swap_entry_folio(pmd_to_swp_entry(*pmd));
	if (folio)
		folio_get(folio);
	spin_unlock(ptl);

	__split_huge_pmd(vma, pmd, haddr, false, NULL);

	if (pte_alloc(vma->vm_mm, pmd)) {
		soft_dirty_untrack(vma);
	} else if (soft_dirty_may_be_pinned(vma) && soft_dirty_pinned(folio)) {
		pte = pte_offset_map_lock(vma->vm_mm, pmd, haddr, &ptl);
		for (i = 0; pte && i < HPAGE_PMD_NR; i++) {
			if (pte_none(ptep_get(pte + i)))
				set_pte_at(vma->vm_mm, haddr + i * PAGE_SIZE,
					   pte + i,
					   make_pte_marker(PTE_MARKER_WRITTEN));
		}
		if (pte)
			pte_unmap_unlock(pte, ptl);
	}

	if (folio)
		folio_put(folio);
	return !vma_wrtracked(vma);
}

static const struct mm_walk_ops soft_dirty_split_ops = {
	.pmd_entry	= soft_dirty_split_pmd,
	.walk_lock	= PGWALK_WRLOCK,
};

void soft_dirty_split(struct vm_area_struct *vma)
{
	walk_page_range_vma(vma, vma->vm_start, vma->vm_end,
			    &soft_dirty_split_ops, NULL);
}
#else
bool soft_dirty_clear_pmd(struct vm_area_struct *vma, unsigned long addr,
			  pmd_t *pmdp)
{
	return false;
}

void soft_dirty_split(struct vm_area_struct *vma)
{
}
#endif

#ifdef CONFIG_HUGETLB_PAGE
/* As soft_dirty_clear_pte(), for a page of hugetlb. */
bool soft_dirty_clear_huge_pte(struct vm_area_struct *vma, unsigned long addr,
			       pte_t *ptep)
{
	unsigned long size = huge_page_size(hstate_vma(vma));
	struct mm_struct *mm = vma->vm_mm;
	pte_t old, pte = huge_ptep_get(mm, addr, ptep);

	if (huge_pte_none(pte))
		return false;

	if (pte_present(pte)) {
		if (huge_pte_uffd_wp(pte))
			return false;
		old = huge_ptep_modify_prot_start(vma, addr, ptep);
		pte = old;
		if (!soft_dirty_may_be_pinned(vma) ||
		    !soft_dirty_pinned(page_folio(pte_page(old))))
			pte = huge_pte_mkuffd_wp(old);
		huge_ptep_modify_prot_commit(vma, addr, ptep, old, pte);
		return huge_pte_write(old);
	}

	if (is_pte_marker(pte)) {
		if (soft_dirty_drop_marker(vma, pte))
			huge_pte_clear(mm, addr, ptep, size);
	} else if (is_hugetlb_entry_migration(pte) &&
		   !soft_dirty_entry_pinned(vma, pte_to_swp_entry(pte))) {
		set_huge_pte_at(mm, addr, ptep,
				pte_swp_mkuffd_wp(pte_swp_wrprotect(pte)), size);
	}
	return false;
}

static int soft_dirty_clear_hugetlb(pte_t *ptep, unsigned long hmask,
				    unsigned long addr, unsigned long next,
				    struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	bool *flush = walk->private;
	spinlock_t *ptl;	/* of the entry */

	ptl = huge_pte_lock(hstate_vma(vma), walk->mm, ptep);
	*flush |= soft_dirty_clear_huge_pte(vma, addr, ptep);
	spin_unlock(ptl);
	cond_resched();
	return 0;
}
#else
#define soft_dirty_clear_hugetlb NULL
#endif

static int soft_dirty_clear_ptes(pmd_t *pmd, unsigned long addr,
				 unsigned long next, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	spinlock_t *ptl;	/* of the PMD, or of the PTEs */
	pte_t *start, *pte;
	bool flush = false;

	ptl = pmd_trans_huge_lock(pmd, vma);
	if (ptl) {
		flush = soft_dirty_clear_pmd(vma, addr, pmd);
		spin_unlock(ptl);
		goto out;
	}

	start = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!start) {
		walk->action = ACTION_AGAIN;
		return 0;
	}
	/* Reclaim may have put off the flush that ends the stores to a page. */
	flush_tlb_batched_pending(walk->mm);
	arch_enter_lazy_mmu_mode();
	for (pte = start; addr < next; pte++, addr += PAGE_SIZE)
		flush |= __soft_dirty_clear_pte(vma, addr, pte);
	arch_leave_lazy_mmu_mode();
	pte_unmap_unlock(start, ptl);
	cond_resched();
out:
	*(bool *)walk->private |= flush;
	return 0;
}

static const struct mm_walk_ops soft_dirty_clear_ops = {
	.pmd_entry	= soft_dirty_clear_ptes,
	.hugetlb_entry	= soft_dirty_clear_hugetlb,
	.walk_lock	= PGWALK_RDLOCK,
};

/*
 * Clear all that is tracked from @addr on, until somebody waits for the mmap
 * lock. The TLB is flushed when this returns; do_wp_page() knows that it may
 * not be yet.
 *
 * Returns the address to go on from, or 0 at the end.
 *
 * Context: the caller holds the mmap lock for reading.
 */
unsigned long soft_dirty_walk(struct mm_struct *mm, unsigned long addr)
{
	bool flush = false, wanted = false;
	struct mmu_notifier_range range;
	struct vm_area_struct *vma;
	unsigned long step, end;
	struct vma_iterator vmi;

	mmu_notifier_range_init(&range, MMU_NOTIFY_PROTECTION_VMA, 0, mm,
				addr, -1UL);
	mmu_notifier_invalidate_range_start(&range);
	inc_tlb_flush_pending(mm);

	vma_iter_init(&vmi, mm, addr);
	for_each_vma(vmi, vma) {
		if (!vma_soft_dirty_tracked(vma))
			continue;

		/* Some ms of work, and no huge page cut in two. */
		step = max3((unsigned long)SZ_32M, PMD_SIZE,
			    vma_kernel_pagesize(vma));
		addr = max(addr, vma->vm_start);
		for (; addr < vma->vm_end && !wanted; addr = end) {
			end = min(vma->vm_end, ALIGN(addr + 1, step));
			walk_page_range_vma(vma, addr, end,
					    &soft_dirty_clear_ops, &flush);
			wanted = mmap_lock_is_contended(mm);
		}
		if (wanted)
			break;
	}

	/* Who else holds the mmap lock for reading may have put off a flush. */
	if (flush || mm_tlb_flush_nested(mm))
		flush_tlb_mm(mm);
	dec_tlb_flush_pending(mm);
	mmu_notifier_invalidate_range_end(&range);

	return vma ? addr : 0;
}
